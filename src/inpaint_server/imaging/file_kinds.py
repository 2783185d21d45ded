"""What a file is, by its first bytes: so that an error can name it."""

from __future__ import annotations

from typing import Final

_MAGIC: Final = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0\x10\0\0\0CR", "a camera's raw picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\x01\0", "an icon"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"iVBORw0KGgo", "base64 of base64"),
    (b"/9j/", "base64 of base64"),
    (b"data:", "base64 of a data URL"),
)
_MARKUP: Final = (
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"<html", "a web page"),
    (b"<!doctype html", "a web page"),
)
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})


def kind_of(data: bytes) -> str | None:
    """What a file is, as a noun with its article; None: nothing known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP picture"
    if data[4:8] == b"ftyp":
        return _kind_of_iso_media(data)
    start = data[:64].lstrip().lower()
    named = [kind for magic, kind in _MAGIC if data.startswith(magic)]
    return next(iter(named + [kind for tag, kind in _MARKUP if start.startswith(tag)]), None)


def is_heic(data: bytes) -> bool:
    """Whether it is a picture as iPhones take them."""
    return kind_of(data) == "a HEIC picture"


def _kind_of_iso_media(data: bytes) -> str:
    """By the brands of the file's first box (ISO/IEC 14496-12, section 4.3)."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[at : at + 4] for at in (8, *range(16, length, 4))}
    if brands & _AVIF_BRANDS:
        return "an AVIF picture"
    if brands & _HEIC_BRANDS:
        return "a HEIC picture"
    return "a camera's raw picture" if b"crx " in brands else "a film"
