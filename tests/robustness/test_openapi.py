"""The OpenAPI document: schemathesis generates requests from it and checks the answers against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from inpaint_server.wire import openapi
from testing.plain_server import PlainServer

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
served: list[ASGIApp] = []


async def app_with_document(scope: Scope, receive: Receive, send: Send) -> None:
    """The application, and its document at /openapi.json."""
    is_document = scope["type"] == "http" and scope["path"] == "/openapi.json"
    await (JSONResponse(openapi.build()) if is_document else served[0])(scope, receive, send)


@schemathesis.serializer("application/jsonlines", "application/x-npy", "image/avif", "image/bmp", "image/tiff")
def serialize(_: schemathesis.SerializationContext, value: object) -> bytes:
    """A generated body of a media type that schemathesis cannot serialize."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


document = schemathesis.openapi.from_asgi("/openapi.json", app_with_document)


@pytest.fixture(scope="module", autouse=True)
def application() -> Iterator[None]:
    with PlainServer(max_canvas_megapixels=0.1) as running:
        served.append(running.app.asgi)
        yield
        served.clear()


@document.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator]
@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=[*hypothesis.HealthCheck])  # pyright: ignore[reportArgumentType]
def test_answers_conform_to_document(case: schemathesis.Case[Any]):
    case.call_and_validate(checks=CHECKS)
