"""The OpenAPI document, built from the wire's schema."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from inpaint_server import __version__
from inpaint_server.errors import ANSWERED
from inpaint_server.wire.answers import ErrorAnswer, InvocationAnswer
from inpaint_server.wire.media_types import FORM, JSON, JSON_LINES, NPY, PICTURES, READ_PICTURES, ZIP
from inpaint_server.wire.schema import InvocationRequest

_REF: Final = "#/components/schemas/"


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
                JSON: request,
                JSON_LINES: text,
                FORM: {"schema": {"type": "object"}},
                **dict.fromkeys(READ_PICTURES, binary),
                NPY: binary,
            },
        },
        "responses": {
            "200": {
                "description": "The pictures.",
                "content": {
                    JSON: answer,
                    JSON_LINES: text,
                    **dict.fromkeys(PICTURES, binary),
                    ZIP: binary,
                    NPY: binary,
                },
            },
            **{
                str(status): {"description": description, "content": {JSON: error}}
                for status, description in _refusals().items()
            },
        },
    }


def _json(model: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"{_REF}{model}"}}


def _refusals() -> dict[int, str]:
    """Each status of the error table, with the first line of its classes' docstrings."""
    sentences: dict[int, list[str]] = {}
    for kind in ANSWERED:
        sentences.setdefault(kind.status, []).append((kind.__doc__ or "").splitlines()[0])
    return {status: " ".join(lines) for status, lines in sorted(sentences.items())}
