"""How a picture was generated, recorded in its own file: enough to generate it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, cast

from inpaint_server import __version__
from inpaint_server.cache import content_key
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.results import Advert, ModelCard
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import read_note
from inpaint_server.settings import Provenance
from inpaint_server.wire.decode import ParsedRequest

SOFTWARE: Final = "inpaint-server"

_PROMPTS: Final = frozenset({"background_prompt", "foreground_prompt", "negative_prompt", "prompt"})
_LONGEST_PROMPTS: Final = (1000, 300, 100, 30, 0)
"""Characters that are left of each, the first that fit."""


def describe_origin(
    parsed: ParsedRequest, advert: Advert, card: ModelCard, provenance: Provenance, max_length: int
) -> str | None:
    """The note in a finished picture's file; the same request gives the same text.

    Args:
        parsed: The request.
        advert: The picture.
        card: What is loaded.
        provenance: How much the note holds.
        max_length: Characters that the file holds; longer prompts are shortened.

    Returns:
        ASCII JSON, in which `prompts` says whether they are `left out` or `shortened`; None: no note.
    """
    if provenance == "none":
        return None
    if provenance == "no-prompts":
        return _note({**_origin(parsed, advert, card), "prompts": "left out"}, lambda _: None)
    whole = _note(_origin(parsed, advert, card), lambda text: text)
    if len(whole) <= max_length:
        return whole
    shortened = {**_origin(parsed, advert, card), "prompts": "shortened"}
    notes = (_note(shortened, lambda text, most=most: text[:most]) for most in _LONGEST_PROMPTS)
    return next(note for note in notes if len(note) <= max_length)


def _note(origin: dict[str, Any], change: Callable[[str], str | None]) -> str:
    return json.dumps({**origin, "request": _with_prompts(origin["request"], change)}, separators=(",", ":"))


def _with_prompts(value: Any, change: Callable[[str], str | None]) -> Any:
    """A request's fields with each prompt changed, or left out where that is None."""
    if isinstance(value, list):
        return [_with_prompts(one, change) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    changed = {
        name: change(one) if name in _PROMPTS and isinstance(one, str) else _with_prompts(one, change)
        for name, one in fields.items()
    }
    return {name: one for name, one in changed.items() if one is not None}


def _origin(parsed: ParsedRequest, advert: Advert, card: ModelCard) -> dict[str, Any]:
    return {
        "software": SOFTWARE,
        "version": __version__,
        "bundle": card.bundle,
        "dtype": card.dtype,
        "photo": fingerprint(parsed.request.photo),
        "mask": fingerprint(parsed.request.mask),
        "request": {**parsed.fields, "seed": advert.seed},
    }


def fingerprint(picture: UInt8Array | None) -> str | None:
    """Distinguishes one picture's pixels from another's, as hexadecimal digits; None where there is no picture."""
    return None if picture is None else content_key(picture).hex()


def read_origin(data: bytes, *, max_pixels: int) -> dict[str, Any]:
    """The note that `describe_origin` wrote, read from a picture's file.

    Args:
        data: A PNG, JPEG or WebP file.
        max_pixels: The largest width x height that is opened.

    Raises:
        InvalidRequest: The file is no picture, or not one of ours.
        TooLarge: It has more than `max_pixels`.
    """
    note = read_note(data, max_pixels=max_pixels)
    try:
        origin = json.loads(note or "")
    except ValueError:
        origin = None
    if not isinstance(origin, dict) or cast("dict[str, Any]", origin).get("software") != SOFTWARE:
        raise InvalidRequest("The file does not say how it was made: give one that this server wrote.", field="file")
    return cast("dict[str, Any]", origin)
