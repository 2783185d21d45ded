"""Laying the product over the scene: its own pixels inside, a soft edge, and nothing of its old background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from inpaint_server.imaging.mask import erode
from inpaint_server.types import PaintMask, Pixels, PlacedProduct, ProductMask, Size, UInt8Array, frozen_array

_BLEND = 8
_SEED_BLUR = 8


def default_feather(canvas: Size) -> int:
    """The soft edge's width where a request names none: 2 pixels at 512."""
    return max(1, round(canvas.shorter_side / 256))


def matte(mask: ProductMask, feather: int) -> UInt8Array:
    """How much of the product shows, 0 to 255: a ramp of `feather` pixels inside the mask's edge.

    255 wherever the mask eroded by `feather` is, 0 outside the mask: the edge is pulled inwards, so that no pixel of
    the old background shows. Where the picture's border cuts the product there is no edge.
    """
    if feather == 0:
        return mask
    near, far = feather // 2, feather - feather // 2
    ramp = _box_blur(erode(mask, far), near) if near else erode(mask, far)
    return np.minimum(np.maximum(ramp, erode(mask, feather)), mask)


def lay_product(canvas: Pixels, placed: PlacedProduct, feather: int) -> Pixels:
    """The canvas with the placed product's own pixels over it.

    No pixel inside the mask eroded by `feather` differs from `placed.pixels`.
    """
    weight = matte(placed.mask, feather)[..., None].astype(np.float32) / 255
    laid = canvas.copy()
    under = laid[placed.box.slices].astype(np.float32)
    laid[placed.box.slices] = np.rint(under + weight * (placed.pixels.astype(np.float32) - under)).astype(np.uint8)
    return Pixels(frozen_array(laid))


def keep_unpainted(before: Pixels, painted: Pixels, mask: PaintMask, blend: int = _BLEND) -> Pixels:
    """What was repainted, and around it the canvas as it was: the autoencoder's round trip changes that, too.

    Exactly `painted` where the mask is set, exactly `before` more than `blend` pixels away from it, and a ramp between
    on the kept side, so that nothing old stays inside the region.
    """
    weight = _ramp_outside(mask, blend)[..., None]
    old = before.astype(np.float32)
    return Pixels(frozen_array(np.rint(old + weight * (painted.astype(np.float32) - old)).astype(np.uint8)))


def soft_anti_mask(mask: ProductMask) -> UInt8Array:
    """The inverted mask with a Gaussian of 8 px, as the replaced sample answers it."""
    return np.asarray(Image.fromarray(255 - mask).filter(ImageFilter.GaussianBlur(_SEED_BLUR)))


def _ramp_outside(mask: PaintMask, blend: int) -> NDArray[np.float32]:
    """1 inside the mask, falling to 0 within `blend` pixels outside it."""
    half = blend // 2
    grown = np.asarray(Image.fromarray(mask).filter(ImageFilter.MaxFilter(2 * half + 1)))
    ramp = _box_blur(grown, half).astype(np.float32) / 255
    return np.where(mask > 0, np.float32(1), ramp)


def _box_blur(mask: UInt8Array, radius: int) -> UInt8Array:
    """A box blur of exactly this reach; beyond the border the picture goes on as it ends."""
    padded = np.pad(mask, radius, mode="edge")
    blurred = np.asarray(Image.fromarray(padded).filter(ImageFilter.BoxBlur(radius)))
    return blurred[radius:-radius, radius:-radius]
