"""What was done to a finished picture, in figures: is the product untouched, did it grow, does a seam show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask
from inpaint_server.domain.calls import MaskProposals
from inpaint_server.domain.geometry import Point
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.results import Receipt
from inpaint_server.imaging.components import find_runs, paint_runs
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import THRESHOLD, erode
from inpaint_server.imaging.neighbourhood import grow, shrink

MOST_GROWTH: Final = 0.15
"""Expansion above which a picture's warnings mention it."""

MOST_SEAM: Final = 3.0
"""Seam above which a picture's warnings mention it."""

_AGREEMENT_WEIGHT: Final = 1.0
"""How much of a product's growth the visibility of the prompts makes up for."""

POINTS: Final = 9
"""Number of the product's points that prompt the segmenter."""

_FINE_ENOUGH: Final = 256
"""The points are searched for on a mask reduced to about this many pixels a side."""


def identity(picture: Pixels, placed: PlacedProduct, feather: int) -> int:
    """Largest difference of a channel from the placed product inside its mask eroded by `feather`, 0 to 255."""
    inside = erode(mask_on_canvas(placed), feather)[placed.box.slices] == 255
    if not inside.any():
        return 0
    shown = picture[placed.box.slices].astype(np.int16)
    return int(np.abs(shown - placed.pixels)[inside].max())


def expansion(found: MaskProposals, placed: PlacedProduct) -> float:
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
    free = ~grow(product >= THRESHOLD, 2)
    beside = free[1:] & free[:-1]
    edges = (last[1:] != last[:-1]) & beside
    if not edges.any():
        return 1.0
    near = np.zeros(product.shape, np.bool_)
    near[1:] = edges
    around = grow(near, 12)[1:] & beside & ~edges
    return float((steps[edges].mean() + 1) / (steps[around].mean() + 1)) if around.any() else 1.0


def fault(receipt: Receipt | None) -> float:
    """A candidate's faults, to be minimised: growth, a visible seam, prompts that do not show."""
    if receipt is None:
        return 0.0
    return receipt.expansion + 0.05 * max(0.0, receipt.seam - 1) - _AGREEMENT_WEIGHT * (receipt.agreement or 0.0)


def product_points(placed: PlacedProduct) -> tuple[Point, ...]:
    """Pixels of the canvas that are the product's own, as prompts for a segmenter: far inside, and far apart.

    The first lies furthest inside. Each other one is, of those at least a quarter as far inside, the furthest from all
    before it (Gonzalez, Clustering to Minimize the Maximum Intercluster Distance, 1985, section 3). From one point
    alone a segmenter may take a part for the whole, or what has the point's colour for the product.
    """
    solid = placed.mask >= min(THRESHOLD, placed.mask.max())  # what is a pixel wide may be half there everywhere
    stride = max(1, round(max(solid.shape) / _FINE_ENOUGH))
    if not solid[::stride, ::stride].any():
        stride = 1
    solid = solid[::stride, ::stride]
    depth = _depth(solid)
    deepest, deep = _pixels_inside(solid, depth), _pixels_inside(solid, depth // 4)
    chosen = [deepest[len(deepest) // 2]]
    while len(chosen) < POINTS:
        nearest = np.min([((deep - one) ** 2).sum(axis=1) for one in chosen], axis=0)
        chosen.append(deep[np.argmax(nearest)])
    corner = np.array([placed.box.top, placed.box.left])
    return tuple(Point(x=float(column), y=float(row), label=1) for row, column in stride * np.array(chosen) + corner)


def _depth(solid: NDArray[np.bool_]) -> int:
    """The radius of the largest square neighbourhood that is all product."""
    low, high = 0, max(solid.shape)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(_pixels_inside(solid, middle)) else (low, middle)
    return low


def _pixels_inside(solid: NDArray[np.bool_], radius: int) -> NDArray[np.intp]:
    """N x 2, row and column of the pixels whose neighbourhood is all product."""
    return np.argwhere(shrink(np.pad(solid, 1), radius)[1:-1, 1:-1])


def receipt_warnings(receipt: Receipt) -> list[str]:
    """A sentence for every figure beyond its bound."""
    warnings: list[str] = []
    if receipt.expansion > MOST_GROWTH:
        warnings.append(
            f"The product seems to have grown by {receipt.expansion:.0%}: try another seed, or more `candidates`."
        )
    if receipt.seam > MOST_SEAM:
        warnings.append(
            f"A seam may show where the passes meet ({receipt.seam:.1f} x its surroundings): try another seed."
        )
    return warnings
