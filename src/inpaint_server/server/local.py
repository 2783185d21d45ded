"""The engine in this process, called like a server: no HTTP, no deadline, the same bytes."""

from __future__ import annotations

from inpaint_server.client.response import JSON, RawResponse, from_error
from inpaint_server.domain.results import OnProgress
from inpaint_server.errors import InpaintServerError
from inpaint_server.server.loading import Loaded, load
from inpaint_server.settings import Settings
from inpaint_server.wire.encode import encode_response


class LocalEngine:
    """A client's transport to models loaded here.

    Args:
        settings: Which bundle, on which device.
        on_progress: Called after every step of every pass.

    Raises:
        InpaintServerError: the models cannot be loaded (see `server.loading`).
    """

    def __init__(self, settings: Settings, on_progress: OnProgress = lambda _: None) -> None:
        # Nobody else's prompts are in these files.
        self._loaded: Loaded = load(settings.model_copy(update={"provenance": settings.provenance or "full"}))
        self._on_progress = on_progress

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """Answer a JSON request; see `client.transport.Transport`."""
        loaded = self._loaded
        try:
            parsed = loaded.reader.read(body, {"content-type": JSON})
            job = loaded.engine.submit(parsed.request, deadline_s=float("inf"), on_progress=self._on_progress)
            completed = loaded.complete(parsed, job.answer.result(), request_id="local", decode_ms=0.0)
        except InpaintServerError as error:
            return from_error(error)
        response = encode_response(completed, accept)
        return RawResponse(status=response.status, body=response.body, media_type=response.media_type)

    def close(self) -> None:
        """Nothing to close: the models live as long as the process."""
