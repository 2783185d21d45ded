"""The shadow a product casts where it touches what it stands on: without one it floats."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from inpaint_server.domain.arrays import Pixels, UInt8Array, frozen_array
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.imaging.mask import THRESHOLD

_FOOT: Final = 0.06
"""The lowest part of the product that counts as touching the ground, fraction of its height."""

_BASE: Final = 0.3
"""A flat stretch of the product's lower outline at least this long, fraction of its width, is a base it stands on."""

_FLAT: Final = 0.03
"""How much such a stretch may rise or fall, fraction of the product's height."""

_LOWEST_BASE: Final = 0.5
"""It lies in the lower part of the product: what hangs down beside a base (a strap) lies before it on the ground, what
is flat further up (a handle, a brim) touches nothing."""

_FLATTENED: Final = 0.35
"""Height over width of the shadow's blur: the ground is viewed at an angle."""

_SOFTNESS: Final = (0.015, 0.07)
"""Blur of the contact itself and of the dark around it, fractions of the product's longer side."""


def cast_contact_shadow(canvas: Pixels, placed: PlacedProduct, strength: float) -> Pixels:
    """Darken the ground at the product's foot; lay the product over it afterwards.

    Args:
        canvas: H x W x 3.
        placed: The product on it.
        strength: Of the light, the share that is taken away where the product touches the ground, 0 to 1; 0 gives the
            canvas itself.
    """
    if strength == 0:
        return canvas
    foot = _foot(placed)
    side = max(placed.box.size.height, placed.box.size.width)
    shade = np.maximum.reduce([_blurred(foot, share * side) for share in _SOFTNESS])
    kept = 1 - strength * shade / 255
    return Pixels(frozen_array(np.rint(canvas * kept[..., None]).astype(np.uint8)))


def _foot(placed: PlacedProduct) -> UInt8Array:
    """The product's lowest pixels column by column, where they lie at its lowest edge or on a base; canvas-sized."""
    height, width = placed.mask.shape
    depth = max(2, round(_FOOT * height))
    # One row for each column of the box.
    lowest: NDArray[np.int64] = height - 1 - np.argmax(placed.mask[::-1] >= THRESHOLD, axis=0)
    touching = (lowest >= height - depth) | _bases(lowest, height, max(2, round(_BASE * width)))
    rows = np.arange(height, dtype=np.int64).reshape(-1, 1)
    near = touching & (rows > lowest - depth)
    foot = np.zeros((placed.canvas.height, placed.canvas.width), np.uint8)
    foot[placed.box.slices] = np.where(near, placed.mask, 0)
    return foot


def _bases(lowest: NDArray[np.int64], height: int, length: int) -> NDArray[np.bool_]:
    """The columns that are part of a flat stretch of so many."""
    if length > len(lowest):
        return np.zeros(len(lowest), np.bool_)
    stretches = np.lib.stride_tricks.sliding_window_view(lowest, length)
    flat = (np.ptp(stretches, axis=1) <= _FLAT * height) & (stretches.min(axis=1) >= _LOWEST_BASE * height)
    return np.convolve(flat, np.ones(length)) > 0


def _blurred(foot: UInt8Array, radius: float) -> np.ndarray:
    """Gaussian, flattened as the ground is, and as dark at its middle as before."""
    picture = Image.fromarray(foot).filter(ImageFilter.GaussianBlur((radius, _FLATTENED * radius)))
    values = np.asarray(picture, dtype=np.float32)
    return values * (255 / max(float(values.max()), 1.0))
