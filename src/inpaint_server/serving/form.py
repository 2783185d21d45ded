"""Forms, put together again: multi-model-server parses them into fields before a handler sees them."""

from __future__ import annotations

import secrets
import urllib.parse
from typing import Any, cast

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"


def is_form(content_type: str) -> bool:
    """Whether the front door parses a body of this type."""
    return content_type.partition(";")[0].strip().lower() in {MULTIPART, URLENCODED}


def encode(fields: dict[str, Any], headers: dict[str, Any], content_type: str) -> tuple[str, bytes]:
    """Put a parsed form together again, its values byte for byte.

    Args:
        fields: Each part's value by its name.
        headers: Under a part's name a dict with its `content-type`, which only files have.
        content_type: What the caller sent.

    Returns:
        Content type (of multipart with a new boundary) and body.
    """
    parts = {name: _as_bytes(value) for name, value in fields.items()}
    if content_type.partition(";")[0].strip().lower() == URLENCODED:
        return content_type, urllib.parse.urlencode(parts).encode()
    boundary = secrets.token_hex(16)
    body = b"".join(_part(boundary, name, value, _part_type(headers, name)) for name, value in parts.items())
    return f"{MULTIPART}; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def _part(boundary: str, name: str, value: bytes, content_type: str) -> bytes:
    file = f'; filename="file"\r\nContent-Type: {content_type}' if content_type else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def _part_type(headers: dict[str, Any], name: str) -> str:
    entry = headers.get(name.lower())
    content_type = cast("dict[str, Any]", entry).get("content-type", "") if isinstance(entry, dict) else ""
    return "".join(character for character in str(content_type) if character.isprintable())


def _quoted(name: str) -> str:
    """A part's name as HTML spells it in a header: no quote and no line end leaves its quotes."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _as_bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)  # pyright: ignore[reportArgumentType]
