"""What lies around each pixel: counts and means over a square, and colours carried on over an edge. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import UInt8Array

Float32Array = NDArray[np.float32]


def count_around(inside: NDArray[np.bool_], radius: int) -> NDArray[np.int32]:
    """How many pixels within `radius` of each are set, 0 to (2 radius + 1)^2; beyond the border its pixels repeat."""
    counts = inside.astype(np.int32)
    window = 2 * radius + 1
    for _ in range(2 if radius else 0):
        # Sums of a sliding window over the rows; the second round, transposed, does the same over the columns.
        sums = np.cumsum(np.pad(counts, ((radius + 1, radius), (0, 0)), mode="edge"), axis=0, dtype=np.int32)
        counts = (sums[window:] - sums[:-window]).T
    return counts


def box_mean(values: Float32Array, radius: int) -> Float32Array:
    """Mean over a square of 2 radius + 1 pixels, H x W x C; beyond the border its pixels repeat."""
    window = 2 * radius + 1
    for _ in range(2):
        padded = np.pad(values, ((radius + 1, radius), (0, 0), (0, 0)), mode="edge")
        sums = np.cumsum(padded, axis=0, dtype=np.float64)
        values = ((sums[window:] - sums[:-window]) / window).astype(np.float32).swapaxes(0, 1)
    return values


def carried_over(picture: UInt8Array, known: NDArray[np.bool_], radius: int) -> UInt8Array:
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
