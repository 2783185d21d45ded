"""The media types of the route: those it reads, those it can answer in, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inpaint_server.domain.request import OutputFormat
from inpaint_server.errors import NotAcceptable

JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
FORM: Final = "multipart/form-data"
NPY: Final = "application/x-npy"
ZIP: Final = "application/zip"
PICTURES: Final[dict[str, OutputFormat]] = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
UNDERSTOOD: Final = (JSON, JSON_LINES, FORM, *PICTURES, NPY)
PRODUCED: Final = (JSON, JSON_LINES, *PICTURES, ZIP)


def content_type(headers: Mapping[str, str]) -> str:
    """The Content-Type without its parameters, lower case; headers have lower-case names."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def choose_media_type(accept: str) -> str:
    """The supported media type that the Accept header prefers; JSON where it prefers none.

    Raises:
        NotAcceptable: none of those it names can be produced.
    """
    if not accept.strip():
        return JSON
    for media_range, quality in sorted(map(_media_range, accept.split(",")), key=lambda entry: -entry[1]):
        for media_type in PRODUCED:
            if quality > 0 and _matches(media_range, media_type):
                return media_type
    raise NotAcceptable(f"Set the Accept header to one of {', '.join(PRODUCED)}.")


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 0.0


def _matches(media_range: str, media_type: str) -> bool:
    kind, _, subtype = media_range.partition("/")
    return media_range in ("*/*", media_type) or (subtype == "*" and media_type.startswith(f"{kind}/"))
