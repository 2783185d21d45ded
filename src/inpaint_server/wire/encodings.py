"""What clients wrap requests in, undone: gzip, base64, NumPy's file format."""

from __future__ import annotations

import binascii
import gzip
import io
import math
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from inpaint_server.errors import InvalidRequest, TooLarge, UnsupportedMediaType

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BASE64_BYTES: Final = 3 * 2**18
_BASE64_LETTERS: Final = 4 * 2**18
"""One chunk, encoded: while it is converted, no other thread runs Python."""
_URL_SAFE: Final = str.maketrans("-_", "+/")


def check_body_size(length: int, max_bytes: int) -> None:
    """Refuse a body beyond the limit.

    Raises:
        TooLarge: with the limit and the setting's name.
    """
    if length > max_bytes:
        raise TooLarge(
            f"Send a smaller body: {length / 1e6:.1f} MB is over the limit of {max_bytes / 1e6:g} MB "
            "(INPAINT_MAX_BODY_MB)."
        )


def check_reply_size(length: int, room: int, max_bytes: int) -> None:
    """Refuse an answer that the response has no room for.

    Args:
        length: The answer's bytes.
        room: What is left for it, bytes: less than the limit where other lines' answers share the response.
        max_bytes: The limit.

    Raises:
        TooLarge: with the limit, the setting's name and what makes answers smaller.
    """
    if length > room:
        beside = "" if room == max_bytes else " together with the lines before it"
        raise TooLarge(
            f"Ask for a smaller answer (`output_format` webp or jpeg, fewer pictures, no layers): {length / 1e6:.1f} MB"
            f"{beside} is over the limit of {max_bytes / 1e6:g} MB (INPAINT_MAX_REPLY_MB)."
        )


def decompressed(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """A body without its Content-Encoding; headers have lower-case names.

    Raises:
        UnsupportedMediaType: it is neither gzip nor none.
        InvalidRequest: it is no whole gzip file.
        TooLarge: it inflates beyond the limit.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType("Send the body as it is, or set the Content-Encoding header to gzip.")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            inflated = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error):
        raise InvalidRequest("Send the whole gzip file, or no Content-Encoding: the body cannot be inflated.") from None
    if len(inflated) > max_bytes:
        raise TooLarge(
            f"Send a smaller body: inflated it is over the limit of {max_bytes / 1e6:g} MB (INPAINT_MAX_BODY_MB)."
        )
    return inflated


def encode_base64(data: bytes) -> str:
    """Base64, in chunks, so that the device's thread does not wait for a large file's."""
    view = memoryview(data)
    chunks = (view[start : start + _BASE64_BYTES] for start in range(0, len(data), _BASE64_BYTES))
    return b"".join(binascii.b2a_base64(chunk, newline=False) for chunk in chunks).decode("ascii")


def decode_base64(text: str, field: str) -> bytes:
    """The bytes of base64 or of a data URL: also of its URL-safe alphabet, without padding, or broken into lines.

    Raises:
        InvalidRequest: the text is not base64.
    """
    encoded = text.partition(",")[2] if text[:5].lower() == "data:" else text
    letters = "".join(encoded.split()).rstrip("=").translate(_URL_SAFE)
    padded = letters + "=" * (-len(letters) % 4)
    chunks = (padded[start : start + _BASE64_LETTERS] for start in range(0, len(padded), _BASE64_LETTERS))
    wrong = InvalidRequest(f"Send `{field}` as base64 (or a data URL) of a picture's file.", field=field)
    if "=" in letters:  # padding stands at the end alone
        raise wrong
    try:
        return b"".join(binascii.a2b_base64(chunk, strict_mode=True) for chunk in chunks)
    except ValueError:  # binascii.Error is one
        raise wrong from None


def read_npy(body: bytes) -> NDArray[Any]:
    """The array of numbers in a NumPy file; a view of the body, and a pickle is never opened.

    Raises:
        InvalidRequest: it is no such file.
    """
    wrong = InvalidRequest("Send the photo as a NumPy .npy file of an H x W x 3 array of uint8.", field="image")
    file = io.BytesIO(body)
    try:
        read_header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, column_major, dtype = read_header(file)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - any error the parser raises on unknown bytes is about those bytes
        raise wrong from None
    if dtype.kind not in "buif" or not shape or min(shape) < 1:
        raise wrong
    if len(body) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise InvalidRequest(
            "Send the whole .npy file: its data is shorter or longer than its header says.", field="image"
        )
    return np.frombuffer(body, dtype, offset=file.tell()).reshape(shape, order="F" if column_major else "C")


def write_npy(array: NDArray[Any]) -> bytes:
    """An array as a NumPy file."""
    file = io.BytesIO()
    npy.write_array(file, array, allow_pickle=False)
    return file.getvalue()
