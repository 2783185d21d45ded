"""The small readers behind every media type: bytes and text into fields, pictures' bytes and arrays."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any, Final, cast

import numpy as np
from numpy.lib import format as npy
from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.errors import InvalidRequest, TooLarge

NestedArray = np.ndarray[Any, np.dtype[Any]]

_WORDS: Final = frozenset({"background_prompt", "foreground_prompt", "prompt_bg", "prompt_fr", "negative_prompt"})
_MAGIC: Final = (b"\x89PNG", b"\xff\xd8", b"RIFF")
_SMALLEST_SIDE: Final = 8


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object; NaN and infinity are refused.

    Raises:
        InvalidRequest: it is empty, no JSON, or no object.
    """
    if not text.strip():
        raise InvalidRequest(f"Send a JSON object: {where} is empty.")
    try:
        fields: Any = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"Correct the JSON in {where}: {error}.") from None
    if not isinstance(fields, dict):
        raise InvalidRequest(f"Send a JSON object in {where}, not another JSON value.")
    return cast("dict[str, Any]", fields)


def from_base64(text: Any, field: str) -> bytes | None:
    """The bytes of base64 or of a data URL; None for what is no string (the schema says what it should be).

    Raises:
        InvalidRequest: the text is not base64.
    """
    if not isinstance(text, str):
        return None
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"Send `{field}` as base64 (or a data URL) of a PNG, JPEG or WebP.", field=field) from None


def parse_form(body: bytes, content_type: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A multipart form: its fields as a JSON body would hold them, and the bytes of `image` and `mask`.

    Numbers, lists and objects are written in a field as JSON; prompts are taken as they are.

    Raises:
        InvalidRequest: the form is malformed.
    """
    parts = dict(_parts(body, content_type))
    pictures = {name: _picture(parts.pop(name), name) for name in ("image", "mask") if name in parts}
    return {name: form_value(name, value) for name, value in parts.items()}, pictures


def _parts(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    parts: list[tuple[str, bytes]] = []

    def on_field(field: Field) -> None:
        parts.append(((field.field_name or b"").decode("utf-8", "replace"), field.value or b""))

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        parts.append(((file.field_name or b"").decode("utf-8", "replace"), file.file_object.read()))

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    malformed = InvalidRequest("Send a well-formed multipart form: its parts cannot be read.")
    if not boundary:
        raise malformed
    # Kept in memory: the body already is, and nothing of a request is written to disk.
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1, "MAX_FIELDS": 64}
    parser = FormParser("multipart/form-data", on_field, on_file, boundary=boundary, config=config)
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise malformed from None
    return parts


def _picture(value: bytes, name: str) -> bytes:
    """A file's bytes as they are; a text field's as base64."""
    if value.startswith(_MAGIC):
        return value
    return from_base64(value.decode("latin-1"), name) or b""


def form_value(name: str, value: bytes) -> Any:
    """A form's field as a JSON body would hold it: prompts as they stand, anything else as JSON where it is JSON."""
    text = value.decode("utf-8", "replace")
    if name in _WORDS:
        return text
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        return text


def nested_array(rows: list[Any], field: str) -> NestedArray:
    """A nested list as an array of numbers in [0, 255], H x W or H x W x channels.

    Raises:
        InvalidRequest: rows differ in length, or a value is no number from 0 to 255.
    """
    wrong = InvalidRequest(f"Send `{field}` as H x W x 3 nested lists of integers from 0 to 255.", field=field)
    try:
        array = np.asarray(rows)
    except (ValueError, OverflowError):
        raise wrong from None
    numbers = array.dtype.kind in "iu" and array.ndim in (2, 3) and array.size > 0
    if not numbers or array.min() < 0 or array.max() > 255:
        raise wrong
    return array.astype(np.uint8)


def npy_array(body: bytes, max_pixels: int) -> NestedArray:
    """An H x W x 3 uint8 array from a NumPy file; the header is checked first and a pickle is never opened.

    Raises:
        InvalidRequest: it is no such file.
        TooLarge: it says it holds more pixels than may be.
    """
    wrong = InvalidRequest("Send the photo as a NumPy .npy file of an H x W x 3 array of uint8.", field="image")
    file = io.BytesIO(body)
    try:
        read_header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, column_major, dtype = read_header(file)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a parser raises on a stranger's bytes is about those bytes
        raise wrong from None
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or min(shape) < 0:
        raise wrong
    check_pixels(shape[0] * shape[1], max_pixels)
    if len(body) - file.tell() != shape[0] * shape[1] * 3:
        raise InvalidRequest(
            "Send the whole .npy file: its data is shorter or longer than its header says.", field="image"
        )
    return np.frombuffer(body, np.uint8, offset=file.tell()).reshape(shape, order="F" if column_major else "C")


def as_photo(array: NestedArray) -> Pixels:
    """An array as a photo.

    Raises:
        InvalidRequest: it has not three channels or is too small to hold a product.
    """
    if array.ndim != 3 or array.shape[2] != 3:
        raise InvalidRequest("Send the photo with three channels, H x W x 3.", field="image")
    if min(array.shape[:2]) < _SMALLEST_SIDE:
        raise InvalidRequest(f"Send a photo of at least {_SMALLEST_SIDE} x {_SMALLEST_SIDE} pixels.", field="image")
    return Pixels(frozen_array(array))


def split_lines(body: bytes) -> list[bytes]:
    """The lines of a JSON Lines body; blank ones do not count.

    Raises:
        InvalidRequest: there is none.
    """
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise InvalidRequest("Send at least one request object, one a line: the body is empty.")
    return lines


def check_size(length: int, max_bytes: int) -> None:
    """Refuse a body beyond the limit.

    Raises:
        TooLarge: with the limit and the setting's name.
    """
    if length > max_bytes:
        raise TooLarge(
            f"Send a smaller body: {length / 1e6:.1f} MB is over the limit of {max_bytes / 1e6:g} MB "
            "(INPAINT_MAX_BODY_MB)."
        )


def check_pixels(pixels: int, max_pixels: int) -> None:
    """Refuse a photo beyond the limit.

    Raises:
        TooLarge: with the limit and the setting's name.
    """
    if pixels > max_pixels:
        raise TooLarge(
            f"Send a smaller photo: {pixels / 1e6:.1f} megapixels are over the limit of {max_pixels / 1e6:g} "
            "(INPAINT_MAX_MEGAPIXELS).",
            field="image",
        )
