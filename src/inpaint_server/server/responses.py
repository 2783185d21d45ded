"""Encoded answers as Starlette's responses, and what both routes answer beside their work: the same at both doors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inpaint_server import errors
from inpaint_server.server.record import request_id_of
from inpaint_server.wire.encode import EncodedResponse, encode_error

_ADVICE: Final = "Send POST /invocations or GET /ping."


def to_response(encoded: EncodedResponse, request_id: str) -> Response:
    """Every response carries the id under which the log reports it."""
    headers = {**encoded.headers, "X-Request-Id": request_id}
    return Response(encoded.body, status_code=encoded.status, media_type=encoded.media_type, headers=headers)


def routes(path: str, method: str, endpoint: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    """The path, with and without a slash at its end; where GET is allowed, HEAD is."""
    return [Route(spelling, endpoint, methods=[method]) for spelling in (path, f"{path}/")]


async def http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors in our format, with the methods that Starlette names, in the order of the alphabet."""
    assert isinstance(error, HTTPException), "registered for these alone"
    is_method = error.status_code == errors.MethodNotAllowed.status
    refusal = errors.MethodNotAllowed(_ADVICE) if is_method else errors.NotFound(f"There is nothing here. {_ADVICE}")
    request_id = request_id_of(request.headers)
    response = to_response(encode_error(refusal, request_id), request_id)
    for name, value in (error.headers or {}).items():
        response.headers[name] = ", ".join(sorted(value.split(", ")))
    return response
