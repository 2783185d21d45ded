"""The engine's own HTTP app in this process, before a painter of plain colours: no models, all of the wire."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import uvicorn
from starlette.responses import Response

from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.domain.results import ModelCard
from inpaint_server.engine.engine import Engine
from inpaint_server.errors import DeadlineExceeded, Internal, Overloaded
from inpaint_server.server.app import EngineApp
from inpaint_server.server.loading import Loaded
from inpaint_server.settings import Settings
from inpaint_server.wire.decode import Limits, RequestReader
from inpaint_server.wire.signing import Sign
from testing.plain_backend import PlainBackend

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Any], Awaitable[None]]


@dataclass(eq=False)
class QuickServer:
    """Runs between `with` and its end.

    Attributes:
        painter: Draws; a test may hold it at its gate.
        bundle: What its answers call its bundle.
        sign: Signs its pictures.
        defaults: What its bundle decides and carries.
        refusals: (status, headers) of the next replies, instead of the app's own.
        bodies: Every JSON request that was not refused that way, parsed.
    """

    painter: PlainBackend = field(default_factory=PlainBackend)
    bundle: str = "plain"
    sign: Sign | None = None
    defaults: BundleDefaults = field(default_factory=lambda: BundleDefaults(size=Size(height=64, width=64)))
    refusals: list[tuple[int, Mapping[str, str]]] = field(default_factory=list[tuple[int, Mapping[str, str]]])
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        self._app = EngineApp(Settings())
        self._app._loaded = _loaded(self)
        self._app.state = "ready"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(
            uvicorn.Config(self._asgi, log_level="error", interface="asgi3", lifespan="off", log_config=None)
        )
        self._listening = Event()
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/invocations":
            return await self._app.asgi(scope, receive, send)
        if self.refusals:
            status, headers = self.refusals.pop(0)
            error = _ERRORS[status]("Not now.")
            refusal = Response(error.to_json("r"), status, dict(headers), "application/json")
            return await refusal(scope, receive, send)
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/json"):
            self.bodies += map(json.loads, body.splitlines())

        replay = [{"type": "http.request", "body": bytes(body)}]

        async def again() -> dict[str, Any]:
            return replay.pop() if replay else await receive()

        return await self._app.asgi(scope, again, send)

    def __enter__(self) -> QuickServer:
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.painter.gate.set()
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


_ERRORS = {429: Overloaded, 503: Overloaded, 504: DeadlineExceeded, 500: Internal}


def _loaded(server: QuickServer) -> Loaded:
    limits = Limits(max_body_bytes=25_000_000, max_pixels=64_000_000, max_canvas_pixels=8_400_000)
    return Loaded(
        engine=Engine(server.painter, queue=32, max_batch=8, background_cache_bytes=0),
        reader=RequestReader(limits, server.defaults),
        card=ModelCard(bundle=server.bundle, device="none", dtype="uint8", attention="none"),
        sign=server.sign,
    )
