"""The real application, reader and engine on a painter of plain colours: everything but the models, in milliseconds."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from inpaint_server import settings
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.domain.results import ModelCard
from inpaint_server.engine.engine import Engine
from inpaint_server.server.app import EngineApp
from inpaint_server.server.loading import Loaded
from inpaint_server.settings import Settings
from inpaint_server.wire.decode import Limits, RequestReader
from testing.plain_backend import PlainBackend, PlainPass

WAIT_S = 30
CARD = ModelCard(bundle="plain", device="cpu", dtype="none", attention="none")


def load(given: Settings, painter: PlainBackend | None = None, card: ModelCard = CARD) -> Loaded:
    """What `server.loading` gives, with plain colours in place of the models."""
    defaults = BundleDefaults(size=Size(height=64, width=64))
    limits = Limits(
        max_body_bytes=given.max_body_bytes,
        max_pixels=int(given.max_megapixels * 1e6),
        max_canvas_pixels=int(given.max_canvas_megapixels * 1e6),
    )
    engine: Engine[PlainPass] = Engine(
        painter or PlainBackend(),
        queue=given.queue,
        max_batch=given.max_batch,
        background_cache_bytes=int(given.background_cache_mb * 1e6),
        mask_cache_bytes=int(given.mask_cache_mb * 1e6),
    )
    return Loaded(engine=engine, reader=RequestReader(limits, defaults), card=card)


@dataclass(slots=True, kw_only=True, eq=False)
class Plain:
    """A loaded application.

    Attributes:
        app: The application.
        painter: Its painter, with the hooks a test may set.
        client: Calls it without a network.
    """

    app: EngineApp
    painter: PlainBackend
    client: TestClient

    def invoke(self, body: bytes | dict[str, Any], **headers: str) -> Any:
        """POST /invocations; a dict goes as JSON."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/invocations", content=content, headers=sent)

    def figure(self, name: str, **labels: str) -> float:
        """One of its metrics; 0 where it has not been counted yet."""
        return self.app.metrics.registry.get_sample_value(name, labels) or 0.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


@contextmanager
def plain(**overrides: object) -> Generator[Plain]:
    """A loaded application with these settings."""
    painter = PlainBackend()
    loaded: list[Loaded] = []

    def loading(given: Settings) -> Loaded:
        loaded.append(load(given, painter))
        return loaded[0]

    app = EngineApp(settings.read(**overrides), loading)
    with TestClient(app.asgi) as client:
        app.load(on_failure=lambda: None)
        until(lambda: client.get("/ping").status_code == 200)
        yield Plain(app=app, painter=painter, client=client)
    painter.gate.set()
    loaded[0].engine.drain()


@contextmanager
def on_a_port(app: EngineApp) -> Generator[int]:
    """The application on a port of the loopback interface, as `serve --direct` has it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app.asgi, lifespan="off", log_config=None))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()
