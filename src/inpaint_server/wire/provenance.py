"""How a picture was generated, recorded in its own file: enough to generate it again."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from inpaint_server import __version__
from inpaint_server.cache import content_key
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.results import Advert, ModelCard
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import read_note
from inpaint_server.wire.decode import ParsedRequest

SOFTWARE: Final = "inpaint-server"


def describe_origin(parsed: ParsedRequest, advert: Advert, card: ModelCard) -> str:
    """The note in a finished picture's file, as ASCII JSON; the same request gives the same text."""
    origin = {
        "software": SOFTWARE,
        "version": __version__,
        "bundle": card.bundle,
        "dtype": card.dtype,
        "photo": fingerprint(parsed.request.photo),
        "mask": fingerprint(parsed.request.mask),
        "request": {**parsed.fields, "seed": advert.seed},
    }
    return json.dumps(origin, separators=(",", ":"))


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
