"""The OpenAPI document, built from the wire's schema."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from inpaint_server import __version__
from inpaint_server.wire.schema import ErrorAnswer, InvocationAnswer, InvocationRequest

_REF: Final = "#/components/schemas/"
_PICTURES: Final = ("image/png", "image/jpeg", "image/webp")
_ERRORS: Final = {
    400: "A field is missing, unknown, of the wrong type or out of range; a picture cannot be decoded.",
    404: "There is nothing at this path.",
    405: "The route exists, the method does not.",
    406: "No accepted media type can be produced.",
    413: "Body, picture or pixels asked for are beyond a limit.",
    415: "The Content-Type is not understood.",
    500: "A failure of the server.",
    503: "The queue is full, or the server is stopping.",
    504: "The request did not finish in its time.",
    507: "The device's memory does not hold a picture of this size.",
}


def build() -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    models = [(InvocationRequest, "validation"), (InvocationAnswer, "serialization"), (ErrorAnswer, "serialization")]
    _, definitions = models_json_schema(models, ref_template=f"{_REF}{{model}}")  # pyright: ignore[reportArgumentType]
    return {
        "openapi": "3.1.0",
        "info": {"title": "inpaint-server", "version": __version__},
        "paths": {
            "/ping": {
                "get": {
                    "summary": "Is the server ready?",
                    "responses": {"200": {"description": "Ready."}, "503": {"description": "Loading or stopping."}},
                }
            },
            "/invocations": {"post": _invocations()},
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _invocations() -> dict[str, Any]:
    request, answer, error = (_json(model.__name__) for model in (InvocationRequest, InvocationAnswer, ErrorAnswer))
    binary = {"schema": {"type": "string", "format": "binary"}}
    text = {"schema": {"type": "string"}}
    return {
        "summary": "Make adverts, or run one stage.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": request,
                "application/jsonlines": text,
                "multipart/form-data": {"schema": {"type": "object"}},
                **dict.fromkeys(_PICTURES, binary),
                "application/x-npy": binary,
            },
        },
        "responses": {
            "200": {
                "description": "The pictures.",
                "content": {
                    "application/json": answer,
                    "application/jsonlines": text,
                    **dict.fromkeys(_PICTURES, binary),
                    "application/zip": binary,
                },
            },
            **{
                str(status): {"description": description, "content": {"application/json": error}}
                for status, description in _ERRORS.items()
            },
        },
    }


def _json(model: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"{_REF}{model}"}}
