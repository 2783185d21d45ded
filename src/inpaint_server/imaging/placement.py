"""Where the product stands: drawn, centred, as in the photo or given; always whole inside the canvas."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box, Placement, Size
from inpaint_server.domain.product import PlacedProduct, Product
from inpaint_server.domain.request import PlacementRule
from inpaint_server.imaging.mask import THRESHOLD

_SCALES: Final = (0.5, 0.68)
_FLOORS: Final = (0.80, 0.94)
_CENTRE_SCALE: Final = 0.6
_TOLERANCE: Final = 0.01
_CUT: Final = 0.2
"""From this fraction of its side on, a product at the photo's border is cut by it and does not just touch it."""

_LANCZOS_REACH: Final = 3


def place(product: Product, canvas: Size, rule: PlacementRule, rng: np.random.Generator) -> PlacedProduct:
    """Find the product's place and resample it, once, to its size there.

    The box returned lies inside the canvas whatever the rule: what is too large is shrunk, what would stick out
    is moved. Its placement, given back as the rule, leads to the same box.

    Args:
        product: The product in its photo.
        canvas: The advert's size.
        rule: How its place is found.
        rng: Draws the place for the rule `random`. Three numbers are drawn whatever the rule, so that a placement that
            was drawn, given back with the same seed, leads to the same split line too.
    """
    return place_at(product, canvas, _wanted(product, canvas, rule, rng.random(3)))


def place_at(product: Product, canvas: Size, placement: Placement) -> PlacedProduct:
    """Put the product at a placement, or as near to it as the canvas allows."""
    box = _fit(product.box.size, canvas, placement)
    pixels, mask = _resample(product, box.size)
    return PlacedProduct(pixels=pixels, mask=mask, box=box, canvas=canvas, placement=_placement_of(box, canvas))


def moved_warning(rule: PlacementRule, placed: PlacedProduct) -> str | None:
    """A warning that the placement had to be changed; None if it was not."""
    if not isinstance(rule, Placement):
        return None
    got = placed.placement
    if max(abs(got.scale - rule.scale), abs(got.x - rule.x), abs(got.y - rule.y)) <= _TOLERANCE:
        return None
    return (
        f"The placement was changed to scale {got.scale:.3f}, x {got.x:.3f}, y {got.y:.3f}, so that the whole product "
        "lies inside the canvas."
    )


def cut_off_warning(product: Product) -> str | None:
    """A warning that the photo does not show the whole product; None if it seems to.

    For found masks only: a cut-out that was trimmed to its product touches the border on every side.
    """
    whole = product.mask >= THRESHOLD
    borders = {"top": whole[0], "bottom": whole[-1], "left": whole[:, 0], "right": whole[:, -1]}
    lengths = {"top": product.box.size.width, "left": product.box.size.height}
    lengths |= {"bottom": lengths["top"], "right": lengths["left"]}
    cut = [side for side, border in borders.items() if border.sum() > _CUT * lengths[side]]
    if not cut:
        return None
    return (
        f"The photo cuts the product off at the {' and the '.join(cut)}, and an advert cannot show what it does not: "
        "use a photo with some room around the product, or send its `mask`."
    )


def canvas_from_photo(product: Product, placed: PlacedProduct) -> Pixels:
    """The photo itself as a canvas, scaled and moved as its product was; its border is drawn out to fill the rest.

    Only what the canvas shows is resampled, however large the whole photo would be at the product's scale.
    """
    height, width = product.photo.shape[:2]
    rows = _shown(
        placed.canvas.height, (placed.box.top, placed.box.bottom), (product.box.top, product.box.bottom), height
    )
    columns = _shown(
        placed.canvas.width, (placed.box.left, placed.box.right), (product.box.left, product.box.right), width
    )
    (top, bottom), (upper, lower) = rows
    (left, right), (first, last) = columns
    window = (first, upper, last, lower)
    shown = Image.fromarray(product.photo).resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=window)
    bare = ((top, placed.canvas.height - bottom), (left, placed.canvas.width - right), (0, 0))
    return Pixels(frozen_array(np.pad(np.asarray(shown), bare, mode="edge")))


def _shown(
    length: int, placed: tuple[int, int], original: tuple[int, int], limit: int
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Along one axis: the canvas's pixels that the photo covers, and the part of the photo they show."""
    step = (original[1] - original[0]) / (placed[1] - placed[0])
    start = max(0, math.ceil(placed[0] - original[0] / step - 1e-6))
    stop = min(length, math.floor(placed[1] + (limit - original[1]) / step + 1e-6))
    first, last = (original[0] + (edge - placed[0]) * step for edge in (start, stop))
    return (start, stop), (max(first, 0.0), min(last, float(limit)))


def _wanted(product: Product, canvas: Size, rule: PlacementRule, draws: NDArray[np.float64]) -> Placement:
    """The rule as a placement, which may still stick out of the canvas."""
    if isinstance(rule, Placement):
        return rule
    if rule == "centre":
        size = _size_at(_CENTRE_SCALE, product.box.size, canvas)
        return Placement(scale=_CENTRE_SCALE, x=0.5, y=(canvas.height + size.height) / 2 / canvas.height)
    if rule == "original":
        return _as_in_photo(product, canvas)
    scale, across, floor = (float(draw) for draw in draws)
    scale = _SCALES[0] + scale * (_SCALES[1] - _SCALES[0])
    room = 1 - _size_at(scale, product.box.size, canvas).width / canvas.width
    # The middle four fifths of the room there is: an advert's product does not hug the frame.
    x = 0.5 + (across - 0.5) * 0.8 * room
    return Placement(scale=scale, x=x, y=_FLOORS[0] + floor * (_FLOORS[1] - _FLOORS[0]))


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


def _size_at(scale: float, size: Size, canvas: Size) -> Size:
    """The product's size at a scale, in whole pixels, no larger than fits the canvas.

    The shorter side follows from the longer one's whole pixels: so does the scale in the answer, which leads back here.
    """
    longer = max(size.height, size.width)
    most = min(canvas.height * longer // size.height, canvas.width * longer // size.width)
    side = min(max(round(scale * canvas.shorter_side), 1), most)
    height, width = (max(1, round(length * side / longer)) for length in (size.height, size.width))
    return Size(height=height, width=width)


def _fit(size: Size, canvas: Size, requested: Placement) -> Box:
    """The box on the canvas's pixels: shrunk to the canvas where it is larger, then moved inside."""
    placed = _size_at(requested.scale, size, canvas)
    left = _inside(round(requested.x * canvas.width - placed.width / 2), placed.width, canvas.width)
    top = _inside(round(requested.y * canvas.height) - placed.height, placed.height, canvas.height)
    return Box(left=left, top=top, right=left + placed.width, bottom=top + placed.height)


def _inside(start: int, length: int, limit: int) -> int:
    return min(max(start, 0), limit - length)


def _placement_of(box: Box, canvas: Size) -> Placement:
    """The placement that gives this box."""
    return Placement(
        scale=max(box.size.height, box.size.width) / canvas.shorter_side,
        x=(box.left + box.right) / 2 / canvas.width,
        y=box.bottom / canvas.height,
    )


def _resample(product: Product, size: Size) -> tuple[Pixels, ProductMask]:
    """Photo and mask cut to the product's box and resampled to the placed size; 1:1 gives the photo's own pixels.

    The mask's kernel is bicubic: Lanczos would leave ripples around the product.
    """
    pixels = _resized(product.photo, product.box, size, Image.Resampling.LANCZOS)
    return Pixels(pixels), ProductMask(_resized(product.mask, product.box, size, Image.Resampling.BICUBIC))


def _resized(picture: UInt8Array, box: Box, size: Size, kernel: Image.Resampling) -> UInt8Array:
    """A picture's box at another size; the kernel sees its surroundings, and no more of the picture is copied."""
    if box.size == size:
        return frozen_array(picture[box.slices].copy())
    shrink = max(1.0, box.size.height / size.height, box.size.width / size.width)
    margin = math.ceil(_LANCZOS_REACH * shrink) + 1
    left, top = max(0, box.left - margin), max(0, box.top - margin)
    near = np.ascontiguousarray(picture[top : box.bottom + margin, left : box.right + margin])
    window = (box.left - left, box.top - top, box.right - left, box.bottom - top)
    return frozen_array(np.asarray(Image.fromarray(near).resize((size.width, size.height), kernel, box=window)))
