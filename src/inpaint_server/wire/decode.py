"""Headers and body in, a request with everything decided out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, BundleDefaults
from inpaint_server.errors import TooLarge, UnsupportedMediaType
from inpaint_server.imaging.codec import decode_mask, decode_photo, fit_mask
from inpaint_server.wire.bodies import (
    as_photo,
    check_pixels,
    check_size,
    from_base64,
    nested_array,
    npy_array,
    parse_form,
    parse_object,
)
from inpaint_server.wire.media_types import FORM, JSON, NPY, PICTURES, UNDERSTOOD, sent_as
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import InvocationRequest, validate

_GIVEN: Final = "given"
"""Stands in a field whose picture came another way than as base64, so that the schema sees it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused before work is spent on it."""

    max_body_bytes: int
    max_pixels: int
    max_canvas_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """One request, and whether it came in the replaced sample's own form (and gets its answer in it)."""

    request: AdvertRequest
    seed_form: bool = False


class Reader:
    """Reads requests for one bundle under one set of limits."""

    def __init__(self, limits: Limits, defaults: BundleDefaults) -> None:
        self._limits = limits
        self._defaults = defaults
        self._readers: dict[str, Callable[[bytes, Mapping[str, str]], ParsedRequest]] = {
            JSON: self._read_json,
            FORM: self._read_form,
            NPY: self._read_array,
            **dict.fromkeys(PICTURES, self._read_picture),
        }

    def read(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
        """Read one request; headers have lower-case names.

        Raises:
            InpaintServerError: `TooLarge`, `UnsupportedMediaType` or `InvalidRequest`.
        """
        check_size(len(body), self._limits.max_body_bytes)
        reader = self._readers.get(sent_as(headers))
        if reader is None:
            raise UnsupportedMediaType(f"Set the Content-Type header to one of {', '.join(UNDERSTOOD)}.")
        return reader(body, headers)

    def read_line(self, line: bytes) -> ParsedRequest:
        """Read one line of JSON Lines.

        Raises:
            InpaintServerError: as `read`.
        """
        return self._read_json(line, {})

    def _read_json(self, body: bytes, _: Mapping[str, str]) -> ParsedRequest:
        fields = parse_object(body, "the body")
        image, mask = fields.get("image"), fields.get("mask")
        if isinstance(image, list):
            return self._read_nested(fields, image, mask)  # pyright: ignore[reportUnknownArgumentType]
        return self._from_files(fields, from_base64(image, "image"), from_base64(mask, "mask"))

    def _read_nested(self, fields: dict[str, Any], image: list[Any], mask: Any) -> ParsedRequest:
        """The replaced sample's form: pictures as nested lists; in its mask any pixel that is not black is product."""
        photo = as_photo(nested_array(image, "image"))
        check_pixels(photo.shape[0] * photo.shape[1], self._limits.max_pixels)
        given = {**fields, "image": _GIVEN}
        if not isinstance(mask, list):
            data = from_base64(mask, "mask")
            return self._call(validate(given), photo, None if data is None else self._mask(data, photo), seed_form=True)
        product = nested_array(mask, "mask")  # pyright: ignore[reportUnknownArgumentType]
        white: UInt8Array = np.where(product.reshape(*product.shape[:2], -1).any(axis=2), 255, 0).astype(np.uint8)
        return self._call(validate({**given, "mask": _GIVEN}), photo, fit_mask(white, _size(photo)), seed_form=True)

    def _read_form(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
        fields, files = parse_form(body, headers["content-type"])
        return self._from_files({**fields, **dict.fromkeys(files, _GIVEN)}, files.get("image"), files.get("mask"))

    def _read_picture(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
        attributes = headers.get("x-amzn-sagemaker-custom-attributes", "").strip()
        fields = parse_object(attributes.encode(), "X-Amzn-SageMaker-Custom-Attributes") if attributes else {}
        return self._from_files({**fields, "image": _GIVEN}, body, from_base64(fields.get("mask"), "mask"))

    def _read_array(self, body: bytes, _: Mapping[str, str]) -> ParsedRequest:
        """The replaced sample's segmentation call."""
        photo = as_photo(npy_array(body, self._limits.max_pixels))
        return self._call(validate({"task": "mask", "image": _GIVEN}), photo, None, seed_form=True)

    def _from_files(self, fields: dict[str, Any], image: bytes | None, mask: bytes | None) -> ParsedRequest:
        """A request whose pictures are PNG, JPEG or WebP; the schema is checked before a picture is decoded."""
        wire = validate(fields)
        if image is None:
            return self._call(wire, None, None)
        photo, alpha = decode_photo(image, max_pixels=self._limits.max_pixels)
        return self._call(wire, photo, alpha if mask is None else self._mask(mask, photo))

    def _call(
        self, wire: InvocationRequest, photo: Pixels | None, mask: ProductMask | None, *, seed_form: bool = False
    ) -> ParsedRequest:
        request = resolve(wire, photo, mask, self._defaults, draw_seed=lambda: secrets.randbits(32))
        self._check_canvas(request)
        return ParsedRequest(request=request, seed_form=seed_form)

    def _mask(self, data: bytes, photo: Pixels) -> ProductMask:
        return decode_mask(data, size=_size(photo), max_pixels=self._limits.max_pixels)

    def _check_canvas(self, request: AdvertRequest) -> None:
        pixels = request.canvas.pixels * len(request.seeds)
        if request.task != "mask" and pixels > self._limits.max_canvas_pixels:
            raise TooLarge(
                f"Ask for fewer or smaller images: num_images x width x height is {pixels / 1e6:.1f} megapixels, the "
                f"limit is {self._limits.max_canvas_pixels / 1e6:g} (INPAINT_MAX_CANVAS_MEGAPIXELS).",
                field="num_images",
            )


def _size(photo: Pixels) -> Size:
    return Size(height=photo.shape[0], width=photo.shape[1])
