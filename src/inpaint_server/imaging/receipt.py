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
from inpaint_server.imaging.layers import coverage_on_canvas, mask_on_canvas
from inpaint_server.imaging.mask import HAZE, THRESHOLD, erode
from inpaint_server.imaging.neighbourhood import grow, shrink

MOST_GROWTH: Final = 0.15
"""Expansion above which a picture's warnings mention it."""

MOST_SEAM: Final = 3.0
"""Seam above which a picture's warnings mention it."""

_AGREEMENT_WEIGHT: Final = 1.0
"""How much of a product's growth the visibility of the prompts makes up for."""

_LEAST_DEPTH: Final = 3
"""Pixels that a product has around its deepest one, all its own; what is thinner a segmenter does not tell apart from
what it touches."""

_LEAST_HIDING: Final = 0.5
"""Fraction of a product's area that hides more of the scene than it shows; a segmenter does not find less."""

_LEAST_LIKENESS: Final = 0.25
"""Intersection over union of the product and what is found in its place, below which that is something else."""

POINTS: Final = 9
"""Number of the product's points that prompt the segmenter."""

_FINE_ENOUGH: Final = 256
"""The points are searched for on a mask reduced to about this many pixels a side."""


def identity(picture: Pixels, placed: PlacedProduct, feather: int) -> int | None:
    """Largest difference of a channel from the placed product, 0 to 255, where the scene cannot show through.

    That is inside its mask eroded by `feather`; of a cut-out, where its coverage is full. None where that is nowhere.
    """
    inside = _comparable(placed, feather)
    if not inside.any():
        return None
    own = _canvas_of(placed) if placed.cut_out is None else placed.cut_out.pixels
    return int(np.abs(picture.astype(np.int16) - own)[inside].max())


def compared(placed: PlacedProduct, feather: int) -> float:
    """The fraction of the product's area that `identity` compares, 0 to 1: not its soft edge, nor glass."""
    area = (mask_on_canvas(placed) >= THRESHOLD).sum()
    return float(min(1.0, _comparable(placed, feather).sum() / max(1, area)))


def _comparable(placed: PlacedProduct, feather: int) -> NDArray[np.bool_]:
    if placed.cut_out is None:
        return erode(mask_on_canvas(placed), feather) == 255
    return shrink(placed.cut_out.coverage == 255, feather)


def _canvas_of(placed: PlacedProduct) -> Pixels:
    """The placed product's pixels at their place on an empty canvas."""
    own = np.zeros((placed.canvas.height, placed.canvas.width, 3), np.uint8)
    own[placed.box.slices] = placed.pixels
    return Pixels(own)


def expansion(found: MaskProposals, placed: PlacedProduct) -> float | None:
    """How much the product seems to have grown: what is found in the picture beyond it, over its own area.

    None where that cannot be read: the product is only a few pixels or a line, most of it lets the scene through, or
    what is found is mostly something else.

    (area(found or mask) - area(mask)) / area(mask), after Eshratifar et al., Salient Object-Aware Background
    Generation using Text-Guided Diffusion Models, 2024, section 4. Of the candidates the one most like the mask counts:
    the others are parts of the product, or the product with what it stands on. What is found apart from the product has
    not grown from it: a segmenter's stray, or another thing of the scene.
    """
    mask = mask_on_canvas(placed) >= THRESHOLD
    hiding = mask & (coverage_on_canvas(placed) >= THRESHOLD)
    if not shrink(np.pad(mask, 1), _LEAST_DEPTH).any() or hiding.sum() < _LEAST_HIDING * mask.sum():
        return None
    candidates = found.masks >= THRESHOLD
    alike = [(one & mask).sum() / (one | mask).sum() for one in candidates]
    if max(alike) < _LEAST_LIKENESS:
        return None
    runs = find_runs(candidates[int(np.argmax(alike))] | mask, diagonal=True)
    joined = paint_runs(runs, runs.areas_of(mask) > 0, mask.shape)
    own = mask if placed.cut_out is None else mask | (placed.cut_out.coverage >= HAZE)  # its hair, its own shadow
    return float((joined & ~own).sum() / mask.sum())


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
    """A candidate's faults, to be minimised: growth, a visible seam, prompts that do not show.

    A growth that cannot be read counts as the most without a warning.
    """
    if receipt is None:
        return 0.0
    growth = MOST_GROWTH if receipt.expansion is None else receipt.expansion
    return growth + 0.05 * max(0.0, receipt.seam - 1) - _AGREEMENT_WEIGHT * (receipt.agreement or 0.0)


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
    if receipt.expansion is not None and receipt.expansion > MOST_GROWTH:
        warnings.append(
            f"The product seems to have grown by {receipt.expansion:.0%}: try another seed, or more `candidates`."
        )
    if receipt.seam > MOST_SEAM:
        warnings.append(
            f"A seam may show where the passes meet ({receipt.seam:.1f} x its surroundings): try another seed."
        )
    return warnings
