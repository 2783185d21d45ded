"""Where the product stands: drawn, centred, as in the photo or given; always whole inside the canvas."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box, Placement, Size
from inpaint_server.domain.product import CutOut, PlacedProduct, Product, Solid
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
    box = _fit(product, canvas, placement)
    cut_out = None if product.solid is None else _cut_out(product, product.solid, box, canvas)
    return PlacedProduct(
        pixels=_resampled_photo(product, box.size)
        if cut_out is None
        else Pixels(frozen_array(cut_out.pixels[box.slices])),
        mask=_resampled_mask(product, box.size),
        box=box,
        canvas=canvas,
        placement=_placement_of(box, canvas),
        cut_out=cut_out,
    )


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
    shown, window = _shown(product, placed.box, placed.canvas)
    size = (shown.size.width, shown.size.height)
    photo = Image.fromarray(product.photo).resize(size, Image.Resampling.LANCZOS, box=window)
    bare = ((shown.top, placed.canvas.height - shown.bottom), (shown.left, placed.canvas.width - shown.right), (0, 0))
    return Pixels(frozen_array(np.pad(np.asarray(photo), bare, mode="edge")))


def _cut_out(product: Product, solid: Solid, box: Box, canvas: Size) -> CutOut:
    """The photo's colours and their coverage as the canvas shows them, also what lies outside the solid part's box."""
    shown, window = _shown(product, box, canvas)
    whole: UInt8Array = np.zeros((canvas.height, canvas.width, 4), np.uint8)
    whole[shown.slices] = _resized_cut_out(product, window, shown.size)
    pixels, coverage = Pixels(frozen_array(whole[..., :3])), ProductMask(frozen_array(whole[..., 3]))
    return CutOut(pixels=pixels, coverage=coverage, mixed_edge=solid.mixed_edge)


def _resized_cut_out(product: Product, window: tuple[float, float, float, float], size: Size) -> UInt8Array:
    """H x W x 4, colours and coverage of a part of the photo; 1:1 gives the photo's own pixels.

    Pillow premultiplies before it resizes, so that colours that do not show (of what is transparent, or of the old
    background) are not mixed in, and divides afterwards. Coverage is resized by the kernel of a mask, and so are the
    colours where it is partial.
    """
    left, top, right, bottom = window
    if (right - left, bottom - top) == (size.width, size.height) and all(edge == int(edge) for edge in window):
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        return np.dstack((product.photo[rows, columns], product.mask[rows, columns]))
    cut_out = Image.fromarray(np.dstack((product.photo, product.mask)))
    soft, sharp = (
        np.asarray(cut_out.resize((size.width, size.height), kernel, box=window))
        for kernel in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    )
    colours = np.where(soft[..., 3:] == 255, sharp, soft)[..., :3]
    return np.dstack((colours, soft[..., 3]))


def _shown(product: Product, box: Box, canvas: Size) -> tuple[Box, tuple[float, float, float, float]]:
    """The part of the canvas that the photo covers, and what of the photo it shows: left, top, right, bottom."""
    photo, own = product.size, product.box
    rows, (upper, lower) = _shown_along(canvas.height, (box.top, box.bottom), (own.top, own.bottom), photo.height)
    columns, (first, last) = _shown_along(canvas.width, (box.left, box.right), (own.left, own.right), photo.width)
    shown = Box(left=columns[0], top=rows[0], right=columns[1], bottom=rows[1])
    return shown, (first, upper, last, lower)


def _shown_along(
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
        size = _size_at(_CENTRE_SCALE, product, canvas)
        return Placement(scale=_CENTRE_SCALE, x=0.5, y=(canvas.height + size.height) / 2 / canvas.height)
    if rule == "original":
        return _as_in_photo(product, canvas)
    scale, across, floor = (float(draw) for draw in draws)
    scale = _SCALES[0] + scale * (_SCALES[1] - _SCALES[0])
    room = 1 - _size_at(scale, product, canvas).width / canvas.width
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


def _size_at(scale: float, product: Product, canvas: Size) -> Size:
    """The product's size at a scale, in whole pixels, no larger than fits the canvas.

    The shorter side follows from the longer one's whole pixels: so does the scale in the answer, which leads back here.
    """
    size, whole = product.box.size, _whole(product).size
    longer = max(size.height, size.width)
    most = min(canvas.height * longer // whole.height, canvas.width * longer // whole.width)
    side = min(max(round(scale * canvas.shorter_side), 1), max(most, 1))
    height, width = (max(1, round(length * side / longer)) for length in (size.height, size.width))
    return Size(height=height, width=width)


def _fit(product: Product, canvas: Size, requested: Placement) -> Box:
    """The box on the canvas's pixels: shrunk until the whole product fits the canvas, then moved inside."""
    placed, own, whole = _size_at(requested.scale, product, canvas), product.box, _whole(product)
    across, down = placed.width / own.size.width, placed.height / own.size.height
    margins = (own.left - whole.left, whole.right - own.right), (own.top - whole.top, whole.bottom - own.bottom)
    left = _inside(round(requested.x * canvas.width - placed.width / 2), placed.width, canvas.width, margins[0], across)
    top = _inside(round(requested.y * canvas.height) - placed.height, placed.height, canvas.height, margins[1], down)
    return Box(left=left, top=top, right=left + placed.width, bottom=top + placed.height)


def _whole(product: Product) -> Box:
    """What has to lie inside the canvas, in the photo."""
    return product.box if product.solid is None else product.solid.extent


def _inside(start: int, length: int, limit: int, margins: tuple[int, int], step: float) -> int:
    """The start of so many pixels that leaves room for the margins, pixels of the photo, on either side."""
    before, after = (math.floor(margin * step) for margin in margins)
    return min(max(start, before), max(limit - length - after, 0))


def _placement_of(box: Box, canvas: Size) -> Placement:
    """The placement that gives this box."""
    return Placement(
        scale=max(box.size.height, box.size.width) / canvas.shorter_side,
        x=(box.left + box.right) / 2 / canvas.width,
        y=box.bottom / canvas.height,
    )


def _resampled_photo(product: Product, size: Size) -> Pixels:
    """The photo cut to the product's box and resampled to the placed size; 1:1 gives the photo's own pixels."""
    return Pixels(_resized(product.photo, product.box, size, Image.Resampling.LANCZOS))


def _resampled_mask(product: Product, size: Size) -> ProductMask:
    """The mask likewise, by a bicubic kernel: Lanczos would leave ripples around the product."""
    mask = product.mask if product.solid is None else product.solid.mask
    return ProductMask(_resized(mask, product.box, size, Image.Resampling.BICUBIC))


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
