"""Bodies and headers to drafts, one reader for each media type; fields are not validated and files not decoded yet."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from inpaint_server.errors import InvalidRequest, UnsupportedMediaType
from inpaint_server.wire.media_types import FORM, JSON, NPY, PICTURES, UNDERSTOOD, content_type

Picture = bytes | NDArray[np.uint8]
"""An encoded file, or an array of H x W or H x W x channels, uint8."""

CUSTOM_ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
_PICTURE_FIELDS: Final = ("image", "mask")
_TEXT_FIELDS: Final = frozenset({"background_prompt", "foreground_prompt", "prompt_bg", "prompt_fr", "negative_prompt"})
_MAGIC: Final = (b"\x89PNG", b"\xff\xd8", b"RIFF")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """One request as its body holds it.

    Attributes:
        fields: Everything but the pictures, as JSON values; unchecked.
        image: The product photo, if there is one.
        mask: The product's mask, if there is one.
        nested_lists: Whether the photo came as an array: the replaced sample's form, which is answered in kind.
    """

    fields: Mapping[str, Any]
    image: Picture | None = None
    mask: Picture | None = None
    nested_lists: bool = False


def read_draft(body: bytes, headers: Mapping[str, str]) -> Draft:
    """Read a body as its Content-Type says; headers have lower-case names.

    Raises:
        UnsupportedMediaType: there is no reader for it.
        InvalidRequest: the body is not of its type.
    """
    reader = _READERS.get(content_type(headers))
    if reader is None:
        raise UnsupportedMediaType(f"Set the Content-Type header to one of {', '.join(UNDERSTOOD)}.")
    return reader(body, headers)


def read_line(line: bytes) -> Draft:
    """Read one line of JSON Lines.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    return _from_json(line, {})


def split_lines(body: bytes) -> list[bytes]:
    """The lines of a JSON Lines body; blank ones do not count.

    Raises:
        InvalidRequest: there is none.
    """
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise InvalidRequest("Send at least one request object, one a line: the body is empty.")
    return lines


def _from_json(body: bytes, _: Mapping[str, str]) -> Draft:
    return _from_object(parse_object(body, "the body"))


def _from_form(body: bytes, headers: Mapping[str, str]) -> Draft:
    """A multipart form. Numbers, lists and objects are written in a field as JSON; prompts are taken as they are."""
    parts = dict(_form_parts(body, headers["content-type"]))
    pictures = {name: _file_or_base64(parts.pop(name), name) for name in _PICTURE_FIELDS if name in parts}
    fields = {name: _form_value(name, value) for name, value in parts.items()}
    return Draft(fields=fields, image=pictures.get("image"), mask=pictures.get("mask"))


def _from_picture(body: bytes, headers: Mapping[str, str]) -> Draft:
    """The bare photo; the other fields are a JSON object in a header."""
    attributes = headers.get(CUSTOM_ATTRIBUTES.lower(), "").strip()
    fields = parse_object(attributes.encode(), CUSTOM_ATTRIBUTES) if attributes else {}
    draft = _from_object({name: value for name, value in fields.items() if name != "image"})
    return Draft(fields=draft.fields, image=body, mask=draft.mask)


def _from_npy(body: bytes, _: Mapping[str, str]) -> Draft:
    """The replaced sample's segmentation call."""
    return Draft(fields={"task": "mask"}, image=_npy_array(body), nested_lists=True)


_READERS: Final[Mapping[str, Callable[[bytes, Mapping[str, str]], Draft]]] = {
    JSON: _from_json,
    FORM: _from_form,
    NPY: _from_npy,
    **dict.fromkeys(PICTURES, _from_picture),
}


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object; NaN and infinity are refused.

    Args:
        text: JSON.
        where: What the text is, for an error.

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


def _from_object(fields: dict[str, Any]) -> Draft:
    """Take the pictures out; what cannot be one stays among the fields, where the schema refuses it."""
    nested = isinstance(fields.get("image"), list)
    pictures = {name: _json_picture(fields[name], name, nested=nested) for name in _PICTURE_FIELDS if name in fields}
    found = {name: picture for name, picture in pictures.items() if picture is not None}
    return Draft(
        fields={name: value for name, value in fields.items() if name not in found},
        image=found.get("image"),
        mask=found.get("mask"),
        nested_lists=nested,
    )


def _json_picture(value: Any, field: str, *, nested: bool) -> Picture | None:
    """Base64, or where the photo is one a nested list; None for anything else."""
    if isinstance(value, str):
        return _decode_base64(value, field)
    return _nested_array(cast("list[Any]", value), field) if nested and isinstance(value, list) else None


def _decode_base64(text: str, field: str) -> bytes:
    """The bytes of base64 or of a data URL.

    Raises:
        InvalidRequest: the text is not base64.
    """
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"Send `{field}` as base64 (or a data URL) of a PNG, JPEG or WebP.", field=field) from None


def _nested_array(rows: list[Any], field: str) -> NDArray[np.uint8]:
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


def _npy_array(body: bytes) -> NDArray[np.uint8]:
    """An H x W x 3 uint8 array from a NumPy file; a view of the body, and a pickle is never opened.

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
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or min(shape) < 0:
        raise wrong
    if len(body) - file.tell() != shape[0] * shape[1] * 3:
        raise InvalidRequest(
            "Send the whole .npy file: its data is shorter or longer than its header says.", field="image"
        )
    return np.frombuffer(body, np.uint8, offset=file.tell()).reshape(shape, order="F" if column_major else "C")


def _form_parts(body: bytes, media_type: str) -> list[tuple[str, bytes]]:
    """Names and values of a form's fields and files."""
    parts: list[tuple[str, bytes]] = []

    def on_field(field: Field) -> None:
        parts.append(((field.field_name or b"").decode("utf-8", "replace"), field.value or b""))

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        parts.append(((file.field_name or b"").decode("utf-8", "replace"), file.file_object.read()))

    boundary = parse_options_header(media_type)[1].get(b"boundary")
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


def _file_or_base64(value: bytes, field: str) -> bytes:
    """A file's bytes as they are; a text field's as base64."""
    return value if value.startswith(_MAGIC) else _decode_base64(value.decode("latin-1"), field)


def _form_value(name: str, value: bytes) -> Any:
    """A form's field as a JSON body would hold it: prompts as they stand, anything else as JSON where it is JSON."""
    text = value.decode("utf-8", "replace")
    if name in _TEXT_FIELDS:
        return text
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        return text
