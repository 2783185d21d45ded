"""Pictures that come as arrays of numbers instead of files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array
from inpaint_server.domain.geometry import Size
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import brightest, fit_mask, photo_and_mask

_CHANNELS = (1, 3, 4)


def from_numbers(array: NDArray[Any], field: str) -> UInt8Array:
    """An array of numbers as levels of grey or colour.

    Args:
        array: H x W, or H x W x 1, 3 or 4 channels (the fourth is alpha): booleans, integers from 0 to 255, or floats
            from 0 to 1 or from 0 to 255. Floats of which none is above 1 are taken for the former.
        field: What it is, for an error. Of a `mask` in integers every value but 0 is white, as in the replaced sample.

    Returns:
        H x W x channels uint8.

    Raises:
        InvalidRequest: it is of another shape, or holds other numbers.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or array.size == 0:
        raise InvalidRequest(f"Send `{field}` as rows of pixels, H x W or H x W x 1, 3 or 4 channels.", field=field)
    if array.dtype.kind not in "buif" or not (array.min() >= 0 and array.max() <= 255):  # False for NaN, too
        raise InvalidRequest(
            f"Send the pixels of `{field}` as integers from 0 to 255, floats from 0 to 1 or 0 to 255, or booleans.",
            field=field,
        )
    if array.dtype.kind == "b" or (array.dtype.kind in "ui" and field == "mask"):
        return np.where(array, 255, 0).astype(np.uint8)
    if array.dtype.kind == "f":
        return np.rint(array * 255.0 if array.max() <= 1 else array).astype(np.uint8)
    return array.astype(np.uint8)


def photo_from_array(array: UInt8Array) -> tuple[Pixels, ProductMask | None]:
    """A product photo of levels as `from_numbers` gives them; returns and raises as `codec.decode_photo`."""
    colours, alpha = _colours_and_alpha(array)
    return photo_and_mask(np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours, alpha)


def mask_from_array(array: UInt8Array, size: Size) -> ProductMask:
    """The product's mask of levels as `from_numbers` gives them; returns and raises as `codec.decode_mask`."""
    return fit_mask(brightest(*_colours_and_alpha(array)), size)


def _colours_and_alpha(array: UInt8Array) -> tuple[UInt8Array, UInt8Array | None]:
    return (array[..., :3], array[..., 3]) if array.shape[2] == 4 else (array, None)
