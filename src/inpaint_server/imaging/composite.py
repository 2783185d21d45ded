"""Laying the product over the scene: its own pixels inside, a soft edge, and nothing of its old background."""

from __future__ import annotations

from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box, Size
from inpaint_server.domain.product import CutOut, PlacedProduct
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import OPAQUE, THRESHOLD, bounding_box, erode
from inpaint_server.imaging.neighbourhood import box_mean, extend_colours, grow, shrink

Picture = TypeVar("Picture", Pixels, PaintMask)

_HARD_EDGE = 3
"""Pixels over which a cut-out's outline goes from opaque to clear where it is merely smoothed."""

_BLEND = 8
_SEED_BLUR = 8


def default_feather(canvas: Size) -> int:
    """The soft edge's width where a request names none: 1 pixel at 512, 4 at 2048."""
    return max(1, round(canvas.shorter_side / 512))


def matte(mask: ProductMask, feather: int) -> UInt8Array:
    """How much of the product shows, 0 to 255: the mask with a soft edge of about `feather` pixels across its outline.

    255 wherever the mask eroded by `feather` is, 0 further than that outside it. Where the picture's border cuts the
    product there is no edge. 0 gives the mask itself, whose pixels are soft where the outline crosses them.
    """
    if feather == 0:
        return mask
    radius, product = feather // 2, mask >= THRESHOLD
    soft = np.rint(box_mean(mask[..., None].astype(np.float32), radius)[..., 0]).astype(np.uint8)
    soft[erode(mask, feather) == 255] = 255
    # What is thinner than the window never fills it: a strap keeps the edge it has.
    thin = product & ~grow(shrink(product, radius), radius)
    return frozen_array(np.where(thin, mask, soft))


def composite_product(canvas: Pixels, placed: PlacedProduct, feather: int) -> Pixels:
    """The canvas with the placed product's own pixels over it.

    No pixel inside the mask eroded by `feather` differs from `placed.pixels`, none further than that outside it from
    the canvas. On the soft edge between, the product's colour is carried on from inside, where none of the photo's old
    background is mixed in, and the scene's from outside, where none of the product is.
    The matte is computed on the canvas, not in the product's box: the box's sides are edges of the product.
    A cut-out is laid by its own coverage instead.
    """
    if placed.cut_out is not None:
        return _composite_cut_out(canvas, placed.cut_out, feather)
    mask, reach = mask_on_canvas(placed), feather + 2
    weight = matte(mask, feather)
    laid = canvas.copy()
    laid[placed.box.slices] = placed.pixels
    around = _grown(placed.box, reach, placed.canvas).slices
    product = extend_colours(laid[around], weight[around] == 255, reach)
    scene = extend_colours(canvas[around], mask[around] < THRESHOLD, reach)
    laid[around] = _mixed(product, scene, weight[around][..., None].astype(np.uint16))
    return Pixels(frozen_array(laid))


def _composite_cut_out(canvas: Pixels, cut_out: CutOut, feather: int) -> Pixels:
    """The canvas under a product of partial coverage: a pixel of coverage a shows a of it and 1 - a of the canvas.

    Only where the outline is hard, what is opaque within 3 pixels of what is clear, is it softened, and are the scene's
    colours carried on from outside (and, where an old background is mixed into them, the product's from inside): glass,
    soft shadows and hair stay as they are.
    """
    reach, radius = feather + _HARD_EDGE - 1, feather // 2
    around = _grown(bounding_box(cut_out.coverage), reach, Size(height=canvas.shape[0], width=canvas.shape[1])).slices
    pixels, coverage, under = cut_out.pixels[around], cut_out.coverage[around], canvas[around]
    opaque, clear = coverage >= OPAQUE, coverage == 0
    edge = grow(opaque, _HARD_EDGE) & grow(clear, _HARD_EDGE)
    outline = edge | (grow(edge, feather) & (opaque | clear))
    soft = np.rint(box_mean(coverage[..., None].astype(np.float32), radius)[..., 0]).astype(np.uint8)
    thin = ~clear & ~grow(shrink(~clear, radius), radius)
    weight = np.where(outline & ~thin, soft, coverage)
    unknown = outline & (~opaque if cut_out.mixed_edge else clear)
    product = np.where(unknown[..., None], extend_colours(pixels, opaque, reach), pixels)
    scene = np.where(outline[..., None], extend_colours(under, clear, reach), under)
    laid = canvas.copy()
    laid[around] = _mixed(product, scene, weight[..., None].astype(np.uint16))
    return Pixels(frozen_array(laid))


def _grown(box: Box, margin: int, canvas: Size) -> Box:
    return Box(
        left=max(0, box.left - margin),
        top=max(0, box.top - margin),
        right=min(canvas.width, box.right + margin),
        bottom=min(canvas.height, box.bottom + margin),
    )


def extend_scene(canvas: Pixels, mask: ProductMask, reach: int) -> Pixels:
    """The canvas with the scene's colours carried on `reach` pixels into the product's place."""
    return Pixels(frozen_array(extend_colours(canvas, mask < THRESHOLD, reach)))


def restore_unmasked(before: Pixels, painted: Pixels, mask: PaintMask) -> Pixels:
    """What was repainted, and around it the canvas as it was: the autoencoder's round trip changes that, too.

    Exactly `painted` where the mask is set, exactly `before` more than 8 pixels away from it, and a ramp between
    on the kept side, so that nothing old stays inside the region.
    """
    repainted = mask >= THRESHOLD
    share = np.minimum(2 * box_mean(repainted[..., None].astype(np.float32), _BLEND)[..., 0], 1)
    weight = np.where(repainted, 255, np.rint(255 * share)).astype(np.uint16)[..., None]
    return Pixels(frozen_array(_mixed(painted, before, weight)))


def restore_product(before: Pixels, after: Pixels, product: ProductMask) -> Pixels:
    """What came after, and the product as it was before."""
    return Pixels(frozen_array(np.where((product >= THRESHOLD)[..., None], before, after)))


def resize_to_canvas(picture: Picture, canvas: Size) -> Picture:
    """A picture or mask painted at the models' size, at the canvas's size; unchanged if it has that already."""
    if picture.shape[:2] == (canvas.height, canvas.width):
        return picture
    kernel = Image.Resampling.LANCZOS if picture.ndim == 3 else Image.Resampling.NEAREST
    resized = Image.fromarray(picture).resize((canvas.width, canvas.height), kernel)
    return cast("Picture", frozen_array(np.asarray(resized)))


def blur_heavily(picture: Pixels) -> Pixels:
    """The picture blurred until only its colours are left."""
    radius = min(picture.shape[:2]) / 6
    return Pixels(frozen_array(np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))))


def blurred_inverse(mask: ProductMask) -> UInt8Array:
    """The inverted mask with a Gaussian of 8 px, as the replaced sample answers it."""
    return frozen_array(np.asarray(Image.fromarray(255 - mask).filter(ImageFilter.GaussianBlur(_SEED_BLUR))))


def _mixed(over: UInt8Array, under: UInt8Array, weight: NDArray[np.uint16]) -> UInt8Array:
    """(weight over + (255 - weight) under) / 255, rounded; at most 255 * 255 + 127, which uint16 holds."""
    return ((over * weight + under * (255 - weight) + 127) // 255).astype(np.uint8)
