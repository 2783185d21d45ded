"""Bodies and headers to drafts, one reader for each media type; fields are not validated and files not decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from inpaint_server.errors import InvalidRequest, UnsupportedMediaType
from inpaint_server.imaging.file_kinds import kind_of
from inpaint_server.imaging.pixel_arrays import from_numbers
from inpaint_server.wire.encodings import BYTE_ORDER_MARK, decode_base64, read_npy
from inpaint_server.wire.media_types import FORM, JSON, NPY, READ_PICTURES, UNDERSTOOD, UNNAMED, content_type
from inpaint_server.wire.schema import InvocationRequest

Picture = bytes | NDArray[np.uint8]
"""An encoded file, or an array of H x W x 1, 3 or 4 channels, uint8."""

CUSTOM_ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
_PICTURE_FIELDS: Final = ("image", "mask")
_NPY_MAGIC: Final = b"\x93NUMPY"
_TEXT_FIELDS: Final = frozenset({"background_prompt", "foreground_prompt", "prompt_bg", "prompt_fr", "negative_prompt"})
_BOOLEAN_FIELDS: Final = frozenset(
    name
    for name, field in InvocationRequest.model_fields.items()
    if bool in (field.annotation, *get_args(field.annotation))
)
_BOOLEANS: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
"""How forms write them, in lower case."""


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
        raise _unsupported()
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
    lines = [line for line in body.removeprefix(BYTE_ORDER_MARK).splitlines() if line.strip()]
    if not lines:
        raise InvalidRequest("Send at least one request object, one a line: the body is empty.")
    return lines


def _from_json(body: bytes, _: Mapping[str, str]) -> Draft:
    return _from_object(parse_object(body, "the body"))


def _from_form(body: bytes, headers: Mapping[str, str]) -> Draft:
    """A multipart form. Numbers, lists and objects are written in a field as JSON; prompts are taken as they are."""
    parts = {name: value for name, value in _form_parts(body, headers["content-type"]) if value.strip()}
    pictures = {name: _file_or_base64(parts.pop(name), name) for name in _PICTURE_FIELDS if name in parts}
    fields = {name: _form_value(name, value) for name, value in parts.items()}
    return Draft(fields=fields, image=pictures.get("image"), mask=pictures.get("mask"))


def _from_picture(body: bytes, headers: Mapping[str, str]) -> Draft:
    """The bare photo; the other fields are a JSON object in a header, in UTF-8."""
    attributes = headers.get(CUSTOM_ATTRIBUTES.lower(), "").strip().encode("latin-1", "replace")
    fields = parse_object(attributes, CUSTOM_ATTRIBUTES) if attributes else {}
    draft = _from_object({name: value for name, value in fields.items() if name != "image"})
    return Draft(fields=draft.fields, image=body, mask=draft.mask)


def _from_npy(body: bytes, _: Mapping[str, str]) -> Draft:
    """The replaced sample's segmentation call."""
    return Draft(fields={"task": "mask"}, image=from_numbers(read_npy(body), "image"), nested_lists=True)


def _from_unnamed(body: bytes, headers: Mapping[str, str]) -> Draft:
    """A body whose type is not named, by its first bytes."""
    if body[:64].removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{"):
        return _from_json(body, headers)
    if body.startswith(_NPY_MAGIC):
        return _from_npy(body, headers)
    if kind_of(body) is not None:
        return _from_picture(body, headers)
    raise _unsupported()


def _unsupported() -> UnsupportedMediaType:
    return UnsupportedMediaType(f"Set the Content-Type header to one of {', '.join(UNDERSTOOD)}.")


_READERS: Final[Mapping[str, Callable[[bytes, Mapping[str, str]], Draft]]] = {
    JSON: _from_json,
    FORM: _from_form,
    NPY: _from_npy,
    **dict.fromkeys(READ_PICTURES, _from_picture),
    **dict.fromkeys(UNNAMED, _from_unnamed),
}


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object; NaN and infinity are refused.

    Args:
        text: JSON.
        where: What the text is, for an error.

    Raises:
        InvalidRequest: it is empty, no JSON, or no object.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
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
        return decode_base64(value, field)
    return _nested_array(cast("list[Any]", value), field) if nested and isinstance(value, list) else None


def _nested_array(rows: list[Any], field: str) -> NDArray[np.uint8]:
    """A nested list as levels of grey or colour, H x W x channels.

    Raises:
        InvalidRequest: rows differ in length, or a value is no level.
    """
    try:
        array = np.asarray(rows)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"Send `{field}` as nested lists of one length: rows, pixels, channels.", field=field
        ) from None
    return from_numbers(array, field)


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
    """A picture's file as it is; text as base64: no picture's file is ASCII alone."""
    return decode_base64(value.decode("ascii"), field) if value.isascii() else value


def _form_value(name: str, value: bytes) -> Any:
    """A form's field as a JSON body would hold it: prompts as they stand, anything else as JSON where it is JSON."""
    text = value.decode("utf-8", "replace")
    if name in _TEXT_FIELDS:
        return text
    if name in _BOOLEAN_FIELDS:
        return _BOOLEANS.get(text.strip().lower(), text)
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        return text
