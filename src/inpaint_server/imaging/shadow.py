"""The shadow a product casts where it touches what it stands on: without one it floats."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from inpaint_server.types import Pixels, PlacedProduct, UInt8Array, frozen_array

_FOOT: Final = 0.06
"""The lowest part of the product that counts as touching the ground, fraction of its height."""

_FLATTENED: Final = 0.35
"""Height over width of the shadow's blur: ground is seen at a slant."""

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
    """The product's lowest pixels column by column, as far as they lie near its base; canvas-sized."""
    depth = max(2, round(_FOOT * placed.box.size.height))
    foot = np.zeros((placed.canvas.height, placed.canvas.width), np.uint8)
    rows, columns = placed.box.slices
    foot[rows.stop - depth : rows.stop, columns] = placed.mask[-depth:]
    return foot


def _blurred(foot: UInt8Array, radius: float) -> np.ndarray:
    """Gaussian, flattened as the ground is, and as dark at its middle as before."""
    picture = Image.fromarray(foot).filter(ImageFilter.GaussianBlur((radius, _FLATTENED * radius)))
    values = np.asarray(picture, dtype=np.float32)
    return values * (255 / max(float(values.max()), 1.0))
