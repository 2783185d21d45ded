"""The product's mask: its components, holes and box; what of the canvas may be repainted."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.components import find_runs, paint_runs
from inpaint_server.types import Box, PaintMask, Pixels, Product, ProductMask, UInt8Array, frozen_array

THRESHOLD: Final = 128
"""From this value on a mask means product."""

_SPECK: Final = 0.05
"""A component smaller than this fraction of the largest is no part of the product."""

_PINHOLE: Final = 0.001
"""A hole smaller than this fraction of the product is a fault of the mask, not a hole."""


def find_product(photo: Pixels, mask: ProductMask) -> Product:
    """The product in its photo: the cleaned mask and its box.

    Raises:
        InvalidRequest: the mask is empty.
    """
    cleaned = clean(mask)
    return Product(photo=photo, mask=cleaned, box=bounding_box(cleaned))


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
    runs = find_runs(inside, diagonal=True)
    areas = runs.areas
    kept = paint_runs(runs, areas >= _SPECK * areas.max(), inside.shape)
    holes = _pinholes(kept)
    soft = np.where(_near(kept), mask, 0).astype(np.uint8)
    return ProductMask(frozen_array(np.where(holes, np.uint8(255), soft)))


def bounding_box(mask: ProductMask) -> Box:
    """The smallest box around every pixel of the product, its soft edge included; the mask must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(left=int(columns[0]), top=int(rows[0]), right=int(columns[-1]) + 1, bottom=int(rows[-1]) + 1)


def erode(mask: UInt8Array, radius: int) -> UInt8Array:
    """Shrink a mask by `radius` pixels (a square neighbourhood). Beyond the border counts as inside the mask.

    An edge of the picture is not an edge of the product: where the photo cuts it, nothing is taken off.
    """
    if radius == 0:
        return mask
    padded = np.pad(mask, radius, constant_values=255)
    shrunk = np.asarray(Image.fromarray(padded).filter(ImageFilter.MinFilter(2 * radius + 1)))
    return shrunk[radius:-radius, radius:-radius]


def repaint_all_but(product: ProductMask, region: NDArray[np.bool_]) -> PaintMask:
    """The inpainting model's mask: the region without the product. The one place where polarity changes.

    Args:
        product: H x W, 255 = product.
        region: H x W, True where the canvas may be repainted.
    """
    return PaintMask(frozen_array(np.where(region & (product < THRESHOLD), 255, 0).astype(np.uint8)))


def _pinholes(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Background enclosed by the product and too small to be meant."""
    runs = find_runs(~inside, diagonal=False)
    height, width = inside.shape
    at_border = (runs.rows == 0) | (runs.rows == height - 1) | (runs.starts == 0) | (runs.stops == width)
    small = runs.areas < _PINHOLE * inside.sum()
    return paint_runs(runs, small & ~runs.touching(at_border), inside.shape)


def _near(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The kept components and two pixels around them, where a soft edge lies."""
    grown = Image.fromarray(kept.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))
    return np.asarray(grown) > 0
