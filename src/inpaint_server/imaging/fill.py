"""What a region is filled with before it is repainted: the colours around it, carried on."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, frozen_array
from inpaint_server.imaging.mask import THRESHOLD
from inpaint_server.imaging.neighbourhood import Float32Array

_ENOUGH: Final = np.float32(1 / 8)
"""Share of a cell that has to be known before its mean counts in full."""

_TINY: Final = np.float32(1e-12)
"""Less than any share above 0."""


def fill_from_surroundings(canvas: Pixels, mask: PaintMask, product: ProductMask) -> Pixels:
    """The canvas with what is repainted replaced by the colours around it, smooth from the edge inwards.

    The pull and push of Gortler et al., The Lumigraph, 1996, section 3.4.2: cells that double in size take the means
    of what is known in them, until one cell is left. Then, from the largest to the smallest, a cell of which too little
    is known takes the colours of the larger ones around it.

    Args:
        canvas: H x W x 3.
        mask: What is repainted.
        product: Its colours are not carried into the scene.
    """
    repainted = mask >= THRESHOLD
    known = ~repainted & (product < THRESHOLD)
    if not known.any():
        return canvas
    levels = [_cells(canvas, known)]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_pulled(levels[-1]))
    colours = _colours(levels.pop())
    while levels:
        colours = _pushed(colours, levels.pop())
    fill = np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
    return Pixels(frozen_array(np.where(repainted[..., None], fill, canvas)))


def _cells(canvas: Pixels, known: NDArray[np.bool_]) -> Float32Array:
    """H x W x 4: each pixel's weight, 1 where it is known and else 0, after its colours times this weight."""
    cells: Float32Array = np.empty((*known.shape, 4), np.float32)
    cells[..., :3] = canvas
    cells[..., 3] = 1
    cells *= known[..., None]
    return cells


def _colours(cells: Float32Array) -> Float32Array:
    """H x W x 3; 0 where nothing is known."""
    return _float32(cells[..., :3] / np.maximum(cells[..., 3:], _TINY))


def _pulled(cells: Float32Array) -> Float32Array:
    """The cells of half as many rows and columns; beyond the border nothing is known.

    A weight is 1 as soon as enough is known: what lies inside the known part then counts no more than its edge.
    """
    pulled = _halved(_halved(cells).swapaxes(0, 1)).swapaxes(0, 1)
    share = pulled[..., 3:]
    return _float32(pulled * (np.minimum(share / _ENOUGH, 1) / np.maximum(share, _TINY)))


def _pushed(colours: Float32Array, cells: Float32Array) -> Float32Array:
    """The colours of cells: their own, and as far as their weight is below 1, those of cells twice as large."""
    height, width = cells.shape[:2]
    around = _doubled(_doubled(colours).swapaxes(0, 1)).swapaxes(0, 1)[:height, :width]
    return _float32(around + cells[..., 3:] * (_colours(cells) - around))


def _halved(rows: Float32Array) -> Float32Array:
    """Half as many rows: each the mean of four, the outer two of which count a third of the inner two."""
    padded = np.pad(rows, ((1, 1 + len(rows) % 2), (0, 0), (0, 0)))
    return _float32((padded[:-3:2] + padded[3::2] + 3 * (padded[1:-2:2] + padded[2:-1:2])) / 8)


def _doubled(rows: Float32Array) -> Float32Array:
    """Twice as many rows, interpolated between the centres of the old ones; beyond the border these repeat."""
    doubled: Float32Array = np.empty((2 * len(rows), *rows.shape[1:]), np.float32)
    doubled[::2] = rows + (np.concatenate([rows[:1], rows[:-1]]) - rows) / 4
    doubled[1::2] = rows + (np.concatenate([rows[1:], rows[-1:]]) - rows) / 4
    return doubled


def _float32(array: NDArray[np.floating]) -> Float32Array:
    """For the type checker: NumPy's stubs widen what stays float32."""
    return array.astype(np.float32, copy=False)
