"""The square around each pixel: its mean, its extremes, and colours extended over an edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inpaint_server.domain.arrays import UInt8Array

Float32Array = NDArray[np.float32]
_ndimage: Any = ndimage  # SciPy publishes no types for its filters


def box_mean(values: Float32Array, radius: int) -> Float32Array:
    """Mean over a square of 2 radius + 1 pixels, H x W x C; beyond the border its pixels repeat."""
    return _ndimage.uniform_filter(values, (2 * radius + 1, 2 * radius + 1, 1), mode="nearest")


def grow(inside: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The pixels that have a set one within `radius`."""
    return _ndimage.maximum_filter(inside, 2 * radius + 1, mode="nearest")


def shrink(inside: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The pixels that have only set ones within `radius`; beyond the border its pixels repeat."""
    return _ndimage.minimum_filter(inside, 2 * radius + 1, mode="nearest")


def extend_colours(picture: UInt8Array, known: NDArray[np.bool_], radius: int) -> UInt8Array:
    """The picture with its unknown pixels replaced by the mean of the known ones within `radius`, where there are any.

    Args:
        picture: H x W x 3.
        known: H x W, True where the picture's colours are to be trusted.
        radius: Pixels.
    """
    share = box_mean(known[..., None].astype(np.float32), radius)
    mean = box_mean(picture * known[..., None].astype(np.float32), radius) / np.maximum(share, 1e-6)
    reached = ~known & (share[..., 0] > 0.5 / (2 * radius + 1) ** 2)
    return np.where(reached[..., None], np.rint(mean), picture).astype(np.uint8)
