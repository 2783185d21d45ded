"""What was done to a finished picture, in figures: is the product untouched, did it grow, does a seam show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from inpaint_server.imaging.components import find_runs, paint_runs
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import THRESHOLD, erode
from inpaint_server.imaging.neighbourhood import count_around
from inpaint_server.types import Candidates, PaintMask, Pixels, PlacedProduct, Point, ProductMask, Receipt

MOST_GROWTH: Final = 0.15
"""Expansion from which on a picture is told of in its warnings."""

MOST_SEAM: Final = 3.0
"""Seam from which on a picture is told of in its warnings."""


def identity(picture: Pixels, placed: PlacedProduct, feather: int) -> int:
    """Largest difference of a channel from the placed product inside its mask eroded by `feather`, 0 to 255."""
    inside = erode(mask_on_canvas(placed), feather)[placed.box.slices] == 255
    if not inside.any():
        return 0
    shown = picture[placed.box.slices].astype(np.int16)
    return int(np.abs(shown - placed.pixels)[inside].max())


def expansion(found: Candidates, placed: PlacedProduct) -> float:
    """How much the product seems to have grown: what is found in the picture beyond it, over its own area.

    (area(found or mask) - area(mask)) / area(mask), after Eshratifar et al., Salient Object-Aware Background
    Generation using Text-Guided Diffusion Models, 2024, section 4. Of the candidates the one most like the mask counts:
    the others are parts of the product, or the product with what it stands on. What is found apart from the product has
    not grown from it: a segmenter's stray, or another thing of the scene.
    """
    mask = mask_on_canvas(placed) >= THRESHOLD
    candidates = found.masks >= THRESHOLD
    alike = [(one & mask).sum() / max(1, (one | mask).sum()) for one in candidates]
    runs = find_runs(candidates[int(np.argmax(alike))] | mask, diagonal=True)
    joined = paint_runs(runs, runs.areas_of(mask) > 0, mask.shape)
    return float((joined & ~mask).sum() / max(1, mask.sum()))


def seam(scene: Pixels, masks: Sequence[PaintMask], product: ProductMask) -> float:
    """Colour step between neighbours where two passes meet, over that of their surroundings; 1 = no seam shows.

    Args:
        scene: H x W x 3, what the passes left.
        masks: What each pass repainted, in order.
        product: Edges at the product are no seams.
    """
    last = np.zeros(product.shape, np.int16)
    for number, mask in enumerate(masks, start=1):
        last[mask >= THRESHOLD] = number
    steps = np.abs(np.diff(scene.astype(np.int16), axis=0)).mean(axis=2)
    free = count_around(product >= THRESHOLD, 2) == 0
    beside = free[1:] & free[:-1]
    edges = (last[1:] != last[:-1]) & beside
    if not edges.any():
        return 1.0
    near = np.zeros(product.shape, np.bool_)
    near[1:] = edges
    around = (count_around(near, 12) > 0)[1:] & beside & ~edges
    return float((steps[edges].mean() + 1) / (steps[around].mean() + 1)) if around.any() else 1.0


def deepest_point(placed: PlacedProduct) -> Point:
    """The pixel of the canvas that is furthest inside the product: where a segmenter is asked about it."""
    solid = mask_on_canvas(placed) >= THRESHOLD
    low, high = 0, max(placed.box.size.height, placed.box.size.width)
    while high - low > 1:
        middle = (low + high) // 2
        whole = count_around(solid, middle) == (2 * middle + 1) ** 2
        low, high = (middle, high) if whole.any() else (low, middle)
    inside = np.argwhere(count_around(solid, low) == (2 * low + 1) ** 2)
    row, column = inside[len(inside) // 2]
    return Point(x=float(column), y=float(row), label=1)


def complaints(receipt: Receipt) -> list[str]:
    """A sentence for every figure beyond its bound."""
    said: list[str] = []
    if receipt.expansion > MOST_GROWTH:
        said.append(
            f"The product seems to have grown by {receipt.expansion:.0%}: try another seed, or more `candidates`."
        )
    if receipt.seam > MOST_SEAM:
        said.append(f"A seam may show where the passes meet ({receipt.seam:.1f} x its surroundings): try another seed.")
    return said
