"""How a picture was made, told in its own file: enough to make it again."""

from __future__ import annotations

import json
from typing import Any, Final

from inpaint_server import __version__
from inpaint_server.cache import content_key
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import Advert, ModelCard
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import read_note

SOFTWARE: Final = "inpaint-server"


def note(request: AdvertRequest, advert: Advert, card: ModelCard) -> str:
    """What a finished picture's file tells, as ASCII JSON; the same request gives the same text."""
    told = {
        "software": SOFTWARE,
        "version": __version__,
        "bundle": card.bundle,
        "dtype": card.dtype,
        "photo": fingerprint(request.photo),
        "mask": fingerprint(request.mask),
        "request": {**request.asked, "seed": advert.seed},
    }
    return json.dumps(told, separators=(",", ":"))


def fingerprint(picture: UInt8Array | None) -> str | None:
    """Tells one picture's pixels from another's, as hexadecimal digits; None where the caller sent none."""
    return None if picture is None else content_key(picture).hex()


def read(data: bytes, *, max_pixels: int) -> dict[str, Any]:
    """What a file tells of how it was made.

    Args:
        data: A PNG, JPEG or WebP file.
        max_pixels: The largest width x height that is opened.

    Raises:
        InvalidRequest: The file is no picture, or not one of ours.
        TooLarge: It has more than `max_pixels`.
    """
    text = read_note(data, max_pixels=max_pixels)
    try:
        told = json.loads(text or "")
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("software") != SOFTWARE:  # pyright: ignore[reportUnknownMemberType]
        raise InvalidRequest("The file does not say how it was made: give one that this server wrote.", field="file")
    return told  # pyright: ignore[reportUnknownVariableType]
