"""The split line, and which part of the canvas each pass repaints."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import Region
from inpaint_server.imaging.mask import OPAQUE, THRESHOLD, region_paint_mask

LATENT_CELL: Final = 8
"""Pixels a cell of the latents stands for; masks meet with this overlap, since they are shrunk by it unblurred."""

_HIGHEST: Final = 1 / 3
"""The split line lies at most this fraction of the product's height above its centroid."""

_STANDS_OUT: Final = 4.0
"""A row's colour step over the median row's from which on it is a line in the scene."""


def split_line(placed: PlacedProduct, rng: np.random.Generator, scene: Pixels | None = None) -> float:
    """A line through the product, fraction of the canvas's height: what it stands on below, what is behind it above.

    It lies between the centroid of the whole mask and a third of the product's height above it: where the scene's own
    ground begins, if a line shows there, so that the new ground ends where the old one did; else at random.

    Args:
        placed: The product on its canvas.
        rng: Draws the line; one number is drawn whether it is needed or not.
        scene: The generated background in the canvas's shape, of any size.
    """
    rows = (placed.mask >= THRESHOLD).sum(axis=1, dtype=np.float64)
    centroid = placed.box.top + (np.arange(len(rows)) @ rows) / max(rows.sum(), 1.0)
    height = placed.canvas.height
    lowest, highest = centroid / height, (centroid - _HIGHEST * placed.box.size.height) / height
    drawn = lowest - rng.uniform(0, 1) * (lowest - highest)
    line = None if scene is None else _ground_line(scene, highest, lowest)
    return float(max(drawn if line is None else line, 0.0))


def _ground_line(scene: Pixels, highest: float, lowest: float) -> float | None:
    """Where between two heights the scene changes most from one row to the next; None where no line stands out."""
    length = scene.shape[0]
    means = scene.astype(np.float32).mean(axis=1)
    steps = np.abs(np.diff(means, axis=0)).mean(axis=1)
    first, last = max(0, round(highest * length)), min(length - 1, round(lowest * length))
    if first >= last:
        return None
    row = first + int(np.argmax(steps[first:last]))
    return (row + 1) / length if steps[row] > _STANDS_OUT * np.median(steps) + 1 else None


def paint_mask(region: Region, placed: PlacedProduct, split: float) -> PaintMask:
    """What a pass repaints: its region of the canvas without the product.

    Args:
        region: `lower` from the split line down; `upper` above it, and one latent cell past it; `around` everything;
            or rows [y0, y1) as fractions of the height.
        placed: The product on its canvas.
        split: The split line, fraction of the height.
    """
    height = placed.canvas.height
    line = round(split * height)
    spans: dict[Region, tuple[int, int]] = {
        "lower": (line, height),
        "upper": (0, line + LATENT_CELL),
        "around": (0, height),
    }
    top, bottom = (round(region[0] * height), round(region[1] * height)) if isinstance(region, tuple) else spans[region]
    rows: NDArray[np.bool_] = np.zeros((height, placed.canvas.width), np.bool_)
    rows[top:bottom] = True
    return region_paint_mask(mask_on_canvas(placed), rows)


def hide_scene(placed: PlacedProduct) -> PlacedProduct:
    """The product as the passes know it: only what hides the scene.

    The scene is painted behind glass, soft shadows and fine hair as if they were not there, and they are laid over it
    afterwards. A product that was found hides the scene with all of its mask.
    """
    if placed.cut_out is None:
        return placed
    covered = placed.cut_out.coverage[placed.box.slices] >= OPAQUE
    return replace(placed, mask=ProductMask(frozen_array(np.where(covered, np.uint8(255), np.uint8(0)))), cut_out=None)


def coverage_on_canvas(placed: PlacedProduct) -> ProductMask:
    """How much of the placed product shows, of the canvas's size."""
    return mask_on_canvas(placed) if placed.cut_out is None else placed.cut_out.coverage


def mask_on_canvas(placed: PlacedProduct) -> ProductMask:
    """The placed product's mask at the canvas's size."""
    mask: UInt8Array = np.zeros((placed.canvas.height, placed.canvas.width), np.uint8)
    mask[placed.box.slices] = placed.mask
    return ProductMask(frozen_array(mask))
