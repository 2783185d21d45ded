"""Our OpenAPI document, taken at its word: schemathesis makes requests of it and looks at the answers."""

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
from testing.plain_app import plain

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
served: list[ASGIApp] = []


async def with_its_document(scope: Scope, receive: Receive, send: Send) -> None:
    """The application, and at /openapi.json what it says of itself."""
    described = scope["type"] == "http" and scope["path"] == "/openapi.json"
    await (JSONResponse(openapi.build()) if described else served[0])(scope, receive, send)


@schemathesis.serializer("application/jsonlines", "application/x-npy")
def as_it_is(_: schemathesis.SerializationContext, value: object) -> bytes:
    """What schemathesis made up for a body that it has no form for."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


document = schemathesis.openapi.from_asgi("/openapi.json", with_its_document)


@pytest.fixture(scope="module", autouse=True)
def application() -> Iterator[None]:
    with plain(max_canvas_megapixels=0.1) as loaded:
        served.append(loaded.app.asgi)
        yield
        served.clear()


@document.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator]
@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=[*hypothesis.HealthCheck])  # pyright: ignore[reportArgumentType]
def test_every_answer_is_one_that_the_document_names(case: schemathesis.Case[Any]):
    case.call_and_validate(checks=CHECKS)
