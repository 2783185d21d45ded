"""The scene's light on the product: a gentle tint."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import Pixels, UInt8Array, frozen_array
from inpaint_server.domain.product import PlacedProduct

_MOST: Final = 1.35
"""The largest factor a channel is scaled by, up or down; beyond it the product looks tinted, not lit."""

_NORM: Final = 6


def match_light(scene: Pixels, placed: PlacedProduct, photo: Pixels, strength: float) -> PlacedProduct:
    """The product as if the scene's light fell on it instead of its photo's.

    Each channel is scaled by the ratio of the two lights (von Kries), each light estimated by the Minkowski norm of
    its picture (Finlayson and Trezzi, Shades of Gray and Colour Constancy, 2004). This changes the product's pixels,
    and the receipt's `identity` is the largest change.

    Args:
        scene: H x W x 3, the canvas behind the product.
        placed: The product on it.
        photo: The photo it was cut from.
        strength: 0 (the product itself) to 1 (all of the ratio, within bounds).
    """
    if strength == 0:
        return placed
    ratio = np.clip(_light(scene) / _light(photo), 1 / _MOST, _MOST) ** strength
    cut_out = placed.cut_out and replace(placed.cut_out, pixels=_tinted(placed.cut_out.pixels, ratio))
    return replace(placed, pixels=_tinted(placed.pixels, ratio), cut_out=cut_out)


def _tinted(pixels: Pixels, ratio: NDArray[np.float64]) -> Pixels:
    return Pixels(frozen_array(np.rint(np.clip(pixels * ratio, 0, 255)).astype(np.uint8)))


def _light(picture: UInt8Array) -> NDArray[np.float64]:
    """The light's colour and brightness, one value a channel, > 0."""
    values = picture.reshape(-1, 3).astype(np.float64) + 1
    return (values**_NORM).mean(axis=0) ** (1 / _NORM)
