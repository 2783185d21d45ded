"""The product's mask: its components, holes and box; what of the canvas may be repainted."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box
from inpaint_server.domain.product import Product, Solid
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.components import find_runs, paint_runs
from inpaint_server.imaging.neighbourhood import grow, shrink

THRESHOLD: Final = 128
"""From this value on a mask means product."""

HAZE: Final = 16
"""Below this value a mask's pixel is compression noise, not a soft edge."""

OPAQUE: Final = 250
"""From this coverage on nothing of the scene shows through; what is less is rounding and compression noise."""

_SHADOW_COLOUR: Final = 48
"""A product's own shadow is black, or nearly: no channel is brighter than this."""

_SHADOW_DEPTH: Final = 0.005
"""It is at least twice as wide as this fraction of the photo's longer side; what is thinner is an edge or a hair."""

_SPECK: Final = 0.05
"""A component smaller than this fraction of the largest is no part of the product."""

_REACH: Final = 0.02
"""A piece further from the largest one than this fraction of the photo's longer side is not the same product."""

_PINHOLE: Final = 0.001
"""A hole or a soft piece smaller than this fraction of the product is a fault of the mask."""


def find_product(photo: Pixels, mask: ProductMask) -> Product:
    """The product in its photo: the cleaned mask and its box.

    Raises:
        InvalidRequest: the mask is empty.
    """
    cleaned = clean(mask)
    return Product(photo=photo, mask=cleaned, box=bounding_box(cleaned))


def cut_out_product(photo: Pixels, coverage: ProductMask, *, is_alpha: bool) -> Product:
    """The product that a caller cut out, its coverage as it is.

    Its solid part is what covers at least half as much as the product does anywhere, without the product's own shadow:
    what is black, soft and wide. It decides where the product is placed, and where it touches the ground.

    Args:
        photo: H x W x 3; colours are not premultiplied.
        coverage: H x W, 0 = nothing of the product, 255 = nothing of the scene.
        is_alpha: Whether it is the photo's alpha channel and not a mask beside an opaque photo.

    Raises:
        InvalidRequest: nothing is covered.
    """
    if int(coverage.max()) < HAZE:
        raise InvalidRequest("The product's mask is empty: paint the product white on black.", field="mask")
    lit = np.where(_own_shadow(photo, coverage), np.uint8(0), coverage)
    if int(lit.max()) < HAZE:
        lit = coverage  # a product that is black and soft all over
    solid = lit >= (int(lit.max()) + 1) // 2
    # Dust far from the product does not decide where it is placed; a loose hair does not, but is not to be cut off.
    runs = find_runs(lit >= HAZE, diagonal=True)
    areas = runs.areas_of(solid)
    pieces = paint_runs(runs, areas >= max(1.0, _SPECK * areas.max()), coverage.shape)
    mask = ProductMask(frozen_array(np.where(pieces & solid, np.uint8(255), np.uint8(0))))
    whole = pieces | paint_runs(runs, runs.areas >= _PINHOLE * solid.sum(), coverage.shape)
    extent = bounding_box(ProductMask(whole.astype(np.uint8)))
    return Product(
        photo=photo,
        mask=coverage,
        box=bounding_box(mask),
        solid=Solid(mask=mask, extent=extent, mixed_edge=not is_alpha),
    )


def _own_shadow(photo: Pixels, coverage: ProductMask) -> NDArray[np.bool_]:
    """What is black, soft and wide; its outline may be thinner than it is wide."""
    dark = (coverage > 0) & (coverage < OPAQUE) & (photo.max(axis=2) < _SHADOW_COLOUR)
    radius = max(1, round(_SHADOW_DEPTH * max(coverage.shape)))
    return dark & grow(shrink(dark, radius), 3 * radius)


def drop_strays(mask: ProductMask) -> ProductMask:
    """What a segmenter found, without the pieces that lie apart from the largest one.

    For found masks only: a mask that a caller sends may well show two things apart.
    """
    runs = find_runs(mask >= THRESHOLD, diagonal=True)
    if len(runs.rows) == 0:
        return mask
    largest = paint_runs(runs, runs.areas == runs.areas.max(), mask.shape)
    near = grow(largest, max(1, round(_REACH * max(mask.shape))))
    before = np.pad(np.cumsum(near, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    reached = before[runs.rows, runs.stops] > before[runs.rows, runs.starts]
    kept = paint_runs(runs, runs.touching(reached), mask.shape)
    return ProductMask(frozen_array(np.where(kept, mask, np.uint8(0))))


def clean(mask: ProductMask) -> ProductMask:
    """Drop specks and fill pinholes; real holes (a strap's loop) and a soft edge stay.

    Raises:
        InvalidRequest: nothing is left.
    """
    inside = mask >= THRESHOLD
    if not inside.any():
        raise InvalidRequest(
            "No product was found in the photo: give `points` or a `box` on it, or send its `mask`.", field="points"
        )
    # A soft edge belongs to the piece it hangs on; what counts for a piece's size is its solid part.
    runs = find_runs(mask >= HAZE, diagonal=True)
    areas = runs.areas_of(inside)
    kept = paint_runs(runs, areas >= max(1.0, _SPECK * areas.max()), inside.shape)
    holes = _pinholes(kept & inside)
    return ProductMask(frozen_array(np.where(holes, np.uint8(255), np.where(kept, mask, np.uint8(0)))))


def bounding_box(mask: ProductMask) -> Box:
    """The smallest box around every pixel of the product, its soft edge included; the mask must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(left=int(columns[0]), top=int(rows[0]), right=int(columns[-1]) + 1, bottom=int(rows[-1]) + 1)


def erode(mask: UInt8Array, radius: int) -> UInt8Array:
    """Shrink a mask by `radius` pixels (a square neighbourhood): 255 where all of it is product, else 0.

    An edge of the picture is not an edge of the product: where the picture cuts it, nothing is taken off. So give the
    mask on its canvas, not cut to the product's box. A radius of 0 gives the mask itself, soft edge and all.
    """
    if radius == 0:
        return mask
    return frozen_array(np.where(shrink(mask >= THRESHOLD, radius), np.uint8(255), np.uint8(0)))


def region_paint_mask(product: ProductMask, region: NDArray[np.bool_]) -> PaintMask:
    """The inpainting model's mask: the region without the product. Polarity changes here and in `product_paint_mask`.

    Args:
        product: H x W, 255 = product.
        region: H x W, True where the canvas may be repainted.
    """
    return PaintMask(frozen_array(np.where(region & (product < THRESHOLD), 255, 0).astype(np.uint8)))


def product_paint_mask(product: ProductMask) -> PaintMask:
    """The product's place, with its soft edge, as a mask to repaint: the product will cover it.

    Args:
        product: H x W, 255 = product.
    """
    return PaintMask(frozen_array(np.where(product > 0, np.uint8(255), np.uint8(0))))


def _pinholes(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Background enclosed by the product and too small to be meant."""
    runs = find_runs(~inside, diagonal=False)
    height, width = inside.shape
    at_border = (runs.rows == 0) | (runs.rows == height - 1) | (runs.starts == 0) | (runs.stops == width)
    small = runs.areas < _PINHOLE * inside.sum()
    return paint_runs(runs, small & ~runs.touching(at_border), inside.shape)
