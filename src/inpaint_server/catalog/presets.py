"""Presets by name: request fields that belong together, shipped in `presets.toml` and extended by the user."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.schema import InvocationRequest

Presets = Mapping[str, Mapping[str, Any]]
SHIPPED: Final = Path(__file__).with_name("presets.toml")


def load(extra: Path | None = None) -> Presets:
    """The shipped scenes, and a file's beside or instead of them.

    Raises:
        InvalidRequest: the file is no TOML, or a scene of it holds something else than a request's fields.
    """
    return {**_read(SHIPPED), **({} if extra is None else _read(extra))}


def look_up(presets: Presets, name: str) -> Mapping[str, Any]:
    """A scene's fields.

    Raises:
        InvalidRequest: there is no such scene.
    """
    if name not in presets:
        raise InvalidRequest(f"Write one of the scenes {', '.join(presets)}: `{name}` is none of them.", field="scene")
    return presets[name]


def _read(path: Path) -> Presets:
    try:
        scenes = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"Correct the scenes in {path}: {error}.") from None
    for name, fields in scenes.items():
        if not isinstance(fields, dict) or not set(fields) <= set(InvocationRequest.model_fields):  # pyright: ignore[reportUnknownArgumentType]
            raise InvalidRequest(
                f'Write the scene `{name}` in {path} as [{name}] with request fields, as in background_prompt = "..."'
            )
    return scenes
