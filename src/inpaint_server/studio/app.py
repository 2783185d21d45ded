"""The studio's own small server: the page's files, and one route that forwards requests through the client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from inpaint_server import __version__
from inpaint_server.catalog.presets import Presets
from inpaint_server.client import AsyncClient, Retry
from inpaint_server.client.response import JSON, from_error
from inpaint_server.client.transport import is_url
from inpaint_server.errors import InvalidRequest, UnsupportedMediaType
from inpaint_server.wire.schema import InvocationRequest

_FILES: Final = Path(__file__).with_name("static")
_PATIENT_S: Final = 3600.0
_HEADERS: Final = {
    # Nothing of the page comes from elsewhere, and nothing is sent elsewhere.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def build(target: str, scenes: Presets) -> Starlette:
    """The studio over a server's URL or a SageMaker endpoint's name.

    Only this page in this machine's browser is answered. The Host header is checked, so that no other name leads here
    (DNS rebinding), and the Origin header, so that no other site's page can make the server work.
    """
    client = AsyncClient(target, timeout_s=_PATIENT_S, retry=Retry(attempts=3))

    async def page(_: Request) -> Response:
        return FileResponse(_FILES / "index.html", headers=_HEADERS)

    async def about(_: Request) -> Response:
        about = {
            "version": __version__,
            "target": target,
            "is_url": is_url(target),
            "scenes": scenes,
            "fields": InvocationRequest.model_json_schema()["properties"],
        }
        return JSONResponse(about, headers=_HEADERS)

    async def invocations(request: Request) -> Response:
        if request.headers.get("origin", own_origin := f"http://{request.headers['host']}") != own_origin:
            reply = from_error(
                InvalidRequest(f"Open the studio at {own_origin}: pages of other sites are not answered.")
            )
        elif request.headers.get("content-type", "").partition(";")[0] != JSON:
            reply = from_error(UnsupportedMediaType(f"Send {JSON}."))
        else:
            reply = await client.send(await request.body())
        return Response(reply.body, reply.status, _HEADERS, reply.media_type)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with client:
            yield

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/about", about),
            Route("/api/invocations", invocations, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_FILES)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])],
        lifespan=lifespan,
    )
