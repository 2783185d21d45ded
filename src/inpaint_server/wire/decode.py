"""Drafts to requests: the fields validated, the pictures decoded, every limit checked, everything open resolved."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, BundleDefaults, OutputFormat
from inpaint_server.errors import TooLarge
from inpaint_server.imaging.codec import check_dimensions, decode_mask, decode_photo, holds_several
from inpaint_server.imaging.pixel_arrays import mask_from_array, photo_from_array
from inpaint_server.wire.bodies import Draft, Picture, read_draft, read_line
from inpaint_server.wire.encodings import check_body_size
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import InvocationRequest, validate

_NOT_RECORDED: Final = {
    *("image", "mask", "seed"),
    *("num_images", "candidates", "receipt", "output_format", "return_layers"),
}
"""Photo, mask and seed, which a picture's file records in its own way, and the fields that do not change a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused before work is spent on it."""

    max_body_bytes: int
    max_pixels: int
    max_canvas_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParsedRequest:
    """One request, and what only its answer's encoding needs.

    Attributes:
        request: Everything decided.
        output_format: How pictures are encoded.
        return_layers: Whether the intermediate pictures are answered too.
        fields: The fields that change a picture, as they were sent, without photo, mask and seed.
        warnings: Sentences about what of the request was not used.
        nested_lists: Whether it came in the replaced sample's own form, and is answered in it.
    """

    request: AdvertRequest
    output_format: OutputFormat
    return_layers: bool
    fields: Mapping[str, object]
    warnings: tuple[str, ...] = ()
    nested_lists: bool = False


class RequestReader:
    """Reads requests for one bundle under one set of limits."""

    def __init__(self, limits: Limits, defaults: BundleDefaults) -> None:
        self._limits = limits
        self._defaults = defaults

    def read(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
        """Read one request; headers have lower-case names.

        Raises:
            InpaintServerError: `TooLarge`, `UnsupportedMediaType` or `InvalidRequest`.
        """
        check_body_size(len(body), self._limits.max_body_bytes)
        return self._decode(read_draft(body, headers))

    def read_line(self, line: bytes) -> ParsedRequest:
        """Read one line of JSON Lines.

        Raises:
            InpaintServerError: as `read`.
        """
        return self._decode(read_line(line))

    def _decode(self, draft: Draft) -> ParsedRequest:
        """The schema is checked before a picture is decoded."""
        wire = validate(draft.fields, has_image=draft.image is not None)
        photo, mask = self._pictures(draft)
        request = resolve(wire, photo, mask, self._defaults, draw_seed=lambda: secrets.randbits(32))
        request = replace(request, mask_is_alpha=mask is not None and draft.mask is None)
        self._check_canvas(request)
        return ParsedRequest(
            request=request,
            output_format=wire.output_format,
            return_layers=wire.return_layers,
            fields=picture_fields(wire),
            warnings=_unused_pictures(draft),
            nested_lists=draft.nested_lists,
        )

    def _pictures(self, draft: Draft) -> tuple[Pixels | None, ProductMask | None]:
        if draft.image is None:
            return None, None
        photo, alpha = self._photo(draft.image)
        size = Size(height=photo.shape[0], width=photo.shape[1])
        return photo, alpha if draft.mask is None else self._mask(draft.mask, size)

    def _photo(self, image: Picture) -> tuple[Pixels, ProductMask | None]:
        if isinstance(image, bytes):
            return decode_photo(image, max_pixels=self._limits.max_pixels)
        height, width = image.shape[:2]
        check_dimensions(width=width, height=height, max_pixels=self._limits.max_pixels, field="image")
        return photo_from_array(image)

    def _mask(self, mask: Picture, size: Size) -> ProductMask:
        if isinstance(mask, bytes):
            return decode_mask(mask, size=size, max_pixels=self._limits.max_pixels)
        return mask_from_array(mask, size)

    def _check_canvas(self, request: AdvertRequest) -> None:
        pixels = request.canvas.pixels * len(request.seeds) * request.candidates
        if request.task != "mask" and pixels > self._limits.max_canvas_pixels:
            raise TooLarge(
                f"Ask for fewer or smaller images: num_images x candidates x width x height is {pixels / 1e6:.1f} "
                f"megapixels, the limit is {self._limits.max_canvas_pixels / 1e6:g} (INPAINT_MAX_CANVAS_MEGAPIXELS).",
                field="num_images" if len(request.seeds) >= request.candidates else "candidates",
            )


def picture_fields(wire: InvocationRequest) -> dict[str, Any]:
    """The request's fields that change a picture, without photo, mask and seed; only those that were sent."""
    return wire.model_dump(mode="json", exclude=_NOT_RECORDED, exclude_unset=True)


def _unused_pictures(draft: Draft) -> tuple[str, ...]:
    return tuple(
        f"`{field}` holds more than one picture: the first was used."
        for field, picture in (("image", draft.image), ("mask", draft.mask))
        if isinstance(picture, bytes) and holds_several(picture)
    )
