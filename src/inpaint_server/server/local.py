"""The engine in this process, asked like a server: no HTTP, no deadline, the same bytes."""

from __future__ import annotations

from inpaint_server.client.response import JSON, RawResponse, refused
from inpaint_server.domain.results import OnProgress
from inpaint_server.errors import InpaintServerError
from inpaint_server.server.loading import Loaded, load
from inpaint_server.settings import Settings
from inpaint_server.wire import encode as outgoing


class LocalEngine:
    """A client's transport to models loaded here.

    Args:
        settings: Which bundle, on which device.
        on_progress: Called after every step of every pass.

    Raises:
        InpaintServerError: the models cannot be loaded (see `server.loading`).
    """

    def __init__(self, settings: Settings, on_progress: OnProgress = lambda _: None) -> None:
        self._loaded: Loaded = load(settings)
        self._on_progress = on_progress

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """Answer a JSON request; see `client.transport.Transport`."""
        loaded = self._loaded
        try:
            call = loaded.reader.read(body, {"content-type": JSON})
            job = loaded.engine.submit(call.request, deadline_s=float("inf"), on_progress=self._on_progress)
            finished = outgoing.CompletedRequest(
                request=call.request,
                answer=job.answer.result(),
                card=loaded.card,
                sign=loaded.sign,
                request_id="local",
                decode_ms=0.0,
                seed_form=call.seed_form,
            )
        except InpaintServerError as error:
            return refused(error)
        reply = outgoing.reply(finished, accept)
        return RawResponse(status=reply.status, body=reply.body, media_type=reply.media_type)

    def close(self) -> None:
        """Nothing to let go of: the models go with the process."""
