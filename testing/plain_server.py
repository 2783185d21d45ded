"""The engine's application on a port of this process, with a backend of plain colours: no models, no Java."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import httpx
import uvicorn
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.domain.results import ModelCard
from inpaint_server.errors import DeadlineExceeded, Internal, Overloaded
from inpaint_server.server.app import EngineApp
from inpaint_server.server.loading import Loaded, assemble
from inpaint_server.server.protocol import Http1Protocol
from inpaint_server.settings import Settings, read
from inpaint_server.wire.signing import Sign
from testing.plain_backend import PlainBackend

TIMEOUT_S: Final = 30
DEFAULTS: Final = BundleDefaults(size=Size(height=64, width=64))
_ERRORS: Final = {429: Overloaded, 503: Overloaded, 504: DeadlineExceeded, 500: Internal}


def load_plain(settings: Settings, backend: Any, defaults: BundleDefaults = DEFAULTS, bundle: str = "plain") -> Loaded:
    """What `server.loading.load` returns, on a backend of plain colours."""
    return assemble(
        settings, backend, defaults, ModelCard(bundle=bundle, device="cpu", dtype="uint8", attention="none")
    )


class PlainServer:
    """Serves between `with` and its end.

    Args:
        bundle: The name of its bundle in its answers.
        sign: Signs its pictures.
        defaults: What its bundle decides and contains.
        overrides: Settings that differ from the environment's.

    Attributes:
        backend: Its backend, whose hooks a test may set.
        app: Its application.
        port: Its port of the loopback interface.
        url: Where it is.
        client: An HTTP client for it.
        refusals: Status and headers of the next answers, in place of the application's.
        bodies: Every JSON request that the application received, parsed.
    """

    def __init__(
        self,
        *,
        bundle: str = "plain",
        sign: Sign | None = None,
        defaults: BundleDefaults = DEFAULTS,
        **overrides: object,
    ) -> None:
        self.backend = PlainBackend()
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        self.bodies: list[dict[str, Any]] = []
        self._bundle = bundle
        self._sign = sign
        self._defaults = defaults
        self.app = EngineApp(read(**overrides), self._load)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(
            uvicorn.Config(self._asgi, http=Http1Protocol, interface="asgi3", lifespan="off", log_config=None)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=2 * TIMEOUT_S)

    def invoke(self, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        """POST /invocations; a dict is sent as JSON."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/invocations", content=content, headers={"content-type": "application/json"} | named)

    def metric(self, name: str, **labels: str) -> float:
        """The value of one of its metrics; 0 if nothing has been counted yet."""
        return self.app.metrics.registry.get_sample_value(name, labels) or 0.0

    def __enter__(self) -> PlainServer:
        self._thread.start()
        self.app.load(on_failure=lambda: None)
        wait_until(lambda: self._server.started and self.app.state == "ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.gate.set()
        self.client.close()
        self._server.should_exit = True
        self._thread.join(TIMEOUT_S)
        self._socket.close()
        self._loaded.engine.drain()

    def _load(self, settings: Settings) -> Loaded:
        self._loaded = replace(load_plain(settings, self.backend, self._defaults, self._bundle), sign=self._sign)
        return self._loaded

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/invocations" and self.refusals:
            status, headers = self.refusals.pop(0)
            error = _ERRORS[status]("Not now.")
            await Response(error.to_json("r"), status, dict(headers), "application/json")(scope, receive, send)
            return
        is_json = dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/json")
        body = bytearray()

        async def record() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if is_json and message["type"] == "http.request" and not message.get("more_body"):
                self._record(bytes(body))
            return message

        await self.app.asgi(scope, record, send)

    def _record(self, body: bytes) -> None:
        try:
            self.bodies += map(json.loads, body.splitlines())
        except ValueError:
            return  # malformed on purpose


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)
