"""Where the product stands: drawn, centred, as in the photo or given; always whole inside the canvas."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from inpaint_server.types import (
    Box,
    Pixels,
    PlacedProduct,
    Placement,
    PlacementRule,
    Product,
    ProductMask,
    Size,
    frozen_array,
)

_SCALES: Final = (0.5, 0.68)
_FLOORS: Final = (0.80, 0.94)
_CENTRE_SCALE: Final = 0.6
_TOLERANCE: Final = 0.01


def place(product: Product, canvas: Size, rule: PlacementRule, rng: np.random.Generator) -> PlacedProduct:
    """Find the product's place and resample it, once, to its size there.

    The box returned lies inside the canvas whatever is asked for: what is too large is shrunk, what would stick out
    is moved. Its placement, given back as the rule, leads to the same box.

    Args:
        product: The product in its photo.
        canvas: The advert's size.
        rule: How its place is found.
        rng: Draws the place for the rule `random`; unused otherwise.
    """
    box = _fit(product.box.size, canvas, _wanted(product, canvas, rule, rng))
    pixels, mask = _resample(product, box.size)
    return PlacedProduct(pixels=pixels, mask=mask, box=box, canvas=canvas, placement=_said(box, product, canvas))


def moved_warning(rule: PlacementRule, placed: PlacedProduct) -> str | None:
    """A sentence for the caller whose placement could not be had; None where it was."""
    if not isinstance(rule, Placement):
        return None
    got = placed.placement
    if max(abs(got.scale - rule.scale), abs(got.x - rule.x), abs(got.y - rule.y)) <= _TOLERANCE:
        return None
    return (
        f"The placement was changed to scale {got.scale:.3f}, x {got.x:.3f}, y {got.y:.3f}, so that the whole product "
        "lies inside the canvas."
    )


def canvas_from_photo(product: Product, placed: PlacedProduct) -> Pixels:
    """The photo itself as a canvas, scaled and moved as its product was; its border is drawn out to fill the rest."""
    factor_x = placed.box.size.width / product.box.size.width
    factor_y = placed.box.size.height / product.box.size.height
    rows = _source(placed.canvas.height, placed.box.top, product.box.top, factor_y, product.size.height)
    columns = _source(placed.canvas.width, placed.box.left, product.box.left, factor_x, product.size.width)
    resized = Image.fromarray(product.photo).resize(
        (max(1, round(product.size.width * factor_x)), max(1, round(product.size.height * factor_y))),
        Image.Resampling.LANCZOS,
    )
    scaled = np.asarray(resized)
    rows = np.clip(np.rint(rows * factor_y).astype(int), 0, scaled.shape[0] - 1)
    columns = np.clip(np.rint(columns * factor_x).astype(int), 0, scaled.shape[1] - 1)
    return Pixels(frozen_array(scaled[np.ix_(rows, columns)]))


def _source(length: int, placed: int, original: int, factor: float, limit: int) -> np.ndarray:
    """For each canvas coordinate the photo's, held inside the photo."""
    return np.clip((np.arange(length) - placed) / factor + original, 0, limit - 1)


def _wanted(product: Product, canvas: Size, rule: PlacementRule, rng: np.random.Generator) -> Placement:
    if isinstance(rule, Placement):
        return rule
    if rule == "centre":
        size = _size_at(_CENTRE_SCALE, product.box.size, canvas)
        return Placement(scale=_CENTRE_SCALE, x=0.5, y=(canvas.height + size[0]) / 2 / canvas.height)
    if rule == "original":
        return _as_in_photo(product, canvas)
    scale = rng.uniform(*_SCALES)
    room = 1 - _size_at(scale, product.box.size, canvas)[1] / canvas.width
    # The middle four fifths of the room there is: an advert's product does not hug the frame.
    x = 0.5 + rng.uniform(-0.4, 0.4) * max(room, 0.0)
    return Placement(scale=scale, x=x, y=rng.uniform(*_FLOORS))


def _as_in_photo(product: Product, canvas: Size) -> Placement:
    """The whole photo fitted into the canvas and centred, the product where it was."""
    photo, box = product.size, product.box
    factor = min(canvas.height / photo.height, canvas.width / photo.width)
    left, top = (canvas.width - photo.width * factor) / 2, (canvas.height - photo.height * factor) / 2
    return Placement(
        scale=max(box.size.height, box.size.width) * factor / canvas.shorter_side,
        x=(left + (box.left + box.right) / 2 * factor) / canvas.width,
        y=(top + box.bottom * factor) / canvas.height,
    )


def _size_at(scale: float, size: Size, canvas: Size) -> tuple[float, float]:
    """Height and width of the product's box at a scale, unrounded."""
    factor = scale * canvas.shorter_side / max(size.height, size.width)
    return size.height * factor, size.width * factor


def _fit(size: Size, canvas: Size, wanted: Placement) -> Box:
    """The box on the canvas's pixels: shrunk to the canvas where it is larger, then moved inside."""
    height, width = _size_at(wanted.scale, size, canvas)
    shrink = min(1.0, canvas.height / height, canvas.width / width)
    height, width = (max(1, round(side * shrink)) for side in (height, width))
    left = _inside(round(wanted.x * canvas.width - width / 2), width, canvas.width)
    top = _inside(round(wanted.y * canvas.height) - height, height, canvas.height)
    return Box(left=left, top=top, right=left + width, bottom=top + height)


def _inside(start: int, length: int, limit: int) -> int:
    return min(max(start, 0), limit - length)


def _said(box: Box, product: Product, canvas: Size) -> Placement:
    """A box in the wire's words, such that they lead to it again."""
    tall = product.box.size.height >= product.box.size.width
    longer = box.size.height if tall else box.size.width
    return Placement(
        scale=longer / canvas.shorter_side,
        x=(box.left + box.right) / 2 / canvas.width,
        y=box.bottom / canvas.height,
    )


def _resample(product: Product, size: Size) -> tuple[Pixels, ProductMask]:
    """Photo and mask cut to the product's box and resampled to the placed size.

    Pillow's `box` lets the kernel see the photo's own surroundings, and 1:1 gives the photo's pixels exactly.
    """
    edges = (product.box.left, product.box.top, product.box.right, product.box.bottom)
    shape = (size.width, size.height)
    pixels = Image.fromarray(product.photo).resize(shape, Image.Resampling.LANCZOS, box=edges)
    mask = Image.fromarray(product.mask).resize(shape, Image.Resampling.BILINEAR, box=edges)
    return Pixels(frozen_array(np.asarray(pixels))), ProductMask(frozen_array(np.asarray(mask)))
