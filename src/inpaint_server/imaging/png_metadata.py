"""A PNG's metadata: what of it Pillow refuses for its size is taken out before, so that the picture is read."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from PIL import PngImagePlugin

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TEXT: Final = (b"tEXt", b"zTXt", b"iTXt")
_MAX_PROFILE_BYTES: Final = 16_000_000


def without_large_metadata(data: bytes) -> tuple[bytes, bytes | None]:
    """Take out text and colour profile where they inflate to more than Pillow reads.

    Args:
        data: A PNG file; anything else is returned as it is.

    Returns:
        The file, and the colour profile if it was taken out.
    """
    if not data.startswith(SIGNATURE):
        return data, None
    kept, profile = [data[: len(SIGNATURE)]], None
    text_bytes, at = 0, len(SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + struct.unpack_from(">I", data, at)[0]
        kind = data[at + 4 : at + 8]
        size = _inflated_bytes(kind, data[at + 8 : end - 4])
        text_bytes += size if kind in _TEXT else 0
        too_much = kind in _TEXT and text_bytes > PngImagePlugin.MAX_TEXT_MEMORY
        if size <= PngImagePlugin.MAX_TEXT_CHUNK and not too_much:
            kept.append(data[at:end])
        elif kind == b"iCCP":
            profile = _inflated(_compressed(kind, data[at + 8 : end - 4]), _MAX_PROFILE_BYTES)
        at = end
    return b"".join([*kept, data[at:]]), profile


def _inflated_bytes(kind: bytes, body: bytes) -> int:
    """How many bytes a chunk of metadata takes in memory, counted a little beyond what Pillow reads; 0 for others."""
    if kind == b"tEXt":
        return min(len(body), PngImagePlugin.MAX_TEXT_CHUNK)  # Pillow has no limit for a single one
    compressed = _compressed(kind, body)
    return len(_inflated(compressed, PngImagePlugin.MAX_TEXT_CHUNK + 1)) if compressed else 0


def _compressed(kind: bytes, body: bytes) -> bytes:
    """The compressed part of a chunk of metadata (PNG specification, third edition, section 11.3)."""
    _, _, rest = body.partition(b"\0")
    if kind in (b"zTXt", b"iCCP"):
        return rest[1:]
    if kind == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return b""


def _inflated(compressed: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(compressed, limit)
    except zlib.error:
        return b""
