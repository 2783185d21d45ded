"""The media types of the route: those it reads, those it can answer in, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from inpaint_server.domain.request import OutputFormat
from inpaint_server.errors import NotAcceptable

JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
FORM: Final = "multipart/form-data"
NPY: Final = "application/x-npy"
ZIP: Final = "application/zip"
PICTURES: Final[dict[str, OutputFormat]] = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
READ_PICTURES: Final = (*PICTURES, "image/avif", "image/gif", "image/bmp", "image/tiff")
UNDERSTOOD: Final = (JSON, JSON_LINES, FORM, *READ_PICTURES, NPY)
PRODUCED: Final = (JSON, JSON_LINES, *PICTURES, ZIP, NPY)
SEVERAL_PICTURES: Final = (JSON, JSON_LINES, ZIP)
"""Those that hold more than one picture."""

UNNAMED: Final = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-image"})
"""What clients write that name no type: such a body is read by its first bytes."""

_ALIASES: Final = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/mpo": "image/jpeg",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "image/tif": "image/tiff",
    "image/x-tiff": "image/tiff",
    "application/jsonl": JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/x-jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    "application/ndjson": JSON_LINES,
    "text/json": JSON,
    "application/npy": NPY,
    "application/x-zip-compressed": ZIP,
}


def content_type(headers: Mapping[str, str]) -> str:
    """The Content-Type under its usual name, without its parameters; headers have lower-case names."""
    return _usual_name(headers.get("content-type", "").partition(";")[0])


def choose_media_type(accept: str, among: Sequence[str] = PRODUCED) -> str:
    """The media type that the Accept header prefers (RFC 9110, section 12.5.1).

    Among equals the one that the header names first is chosen, and among those of one range the first that can be
    produced.

    Args:
        accept: The header; empty: anything.
        among: What can be produced.

    Raises:
        NotAcceptable: none of those it names can be produced.
    """
    ranges = [_media_range(text) for text in (accept.strip() or "*/*").split(",")]
    wanted = [(*_preference(media_type, ranges), media_type) for media_type in among]
    quality, _, media_type = max(wanted, key=lambda entry: entry[:2])
    if quality == 0:
        raise NotAcceptable(f"Set the Accept header to one of {', '.join(among)}.")
    return media_type


def _preference(media_type: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """The quality that the most specific range gives a media type, and how early that range stands."""
    kind = media_type.partition("/")[0]
    for specific in (media_type, f"{kind}/*", "*/*"):
        for position, (media_range, quality) in enumerate(ranges):
            if media_range == specific:
                return quality, -position
    return 0.0, -len(ranges)


def _media_range(text: str) -> tuple[str, float]:
    """A range's name and quality; a malformed quality is ignored."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    given = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        quality = float(given)
    except ValueError:
        quality = 1.0
    return _usual_name(name), quality if 0 <= quality <= 1 else 1.0


def _usual_name(media_type: str) -> str:
    name = media_type.strip().lower()
    return _ALIASES.get(name, name)
