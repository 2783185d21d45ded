"""The replaced sample's algorithm: squashed photo, random shift, passes that repaint everything, soft paste.

The passes have our profile's solver, steps and guidance: what is compared is what surrounds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.quality.measures import Painted, Placed, Result, compared
from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, frozen_array
from inpaint_server.domain.calls import Inpaint, MaskProposals
from inpaint_server.domain.geometry import Box, Placement, Size
from inpaint_server.domain.product import PlacedProduct, Product
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.imaging.mask import bounding_box
from inpaint_server.pipeline import PipelineSteps, generate_background, noise_seed

SCALE = 0.6
"""Of the whole photo on the canvas, as published."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmented:
    """A product as both ways know it: ours, and the segmenter's own candidates, whose union the replaced way takes."""

    product: Product
    candidates: MaskProposals


def replaced_advert(found: Segmented, request: AdvertRequest, seed: int) -> PipelineSteps[Result]:
    """One picture and its figures."""
    rng, canvas = np.random.default_rng(seed), request.canvas
    union = np.where(found.candidates.masks.max(axis=0) > 0, 255, 0).astype(np.uint8)
    left, top = random_shift(rng, canvas)
    photo, mask = (_placed(part, canvas, left, top) for part in (found.product.photo, union))
    background = yield generate_background(request, seed)
    painted = Pixels(frozen_array(np.where(mask[..., None] > 0, photo, background).astype(np.uint8)))
    line = _centroid(mask) - rng.uniform(0, 1 / 3) * np.ptp(np.flatnonzero(mask.any(axis=1)))
    rows = np.arange(canvas.height)[:, None]
    masks = [
        PaintMask(frozen_array(np.where((mask == 0) & part, 255, 0).astype(np.uint8)))
        for part in (rows >= line, rows < line)
    ]
    for number, (layer, repaint) in enumerate(zip(request.layers, masks, strict=True), start=1):
        answer = yield Inpaint(
            canvas=painted,
            mask=repaint,
            prompt=layer.prompt,
            negative_prompt=layer.negative_prompt,
            sampling=request.pass_sampling,
            noise_seed=noise_seed(seed, number),
        )
        painted = Pixels(np.asarray(answer))
    weight = (mask[..., None] / 255.0) ** 2
    picture = Pixels(frozen_array(np.rint(photo * weight + painted * (1 - weight)).astype(np.uint8)))
    placed = Placed(product=_placed_product(found.product, canvas, left, top), masks=tuple(masks), shown=mask)
    advert = Painted(picture=picture, scene=painted, background=background)
    return (yield from compared(request, seed, advert, placed))


def random_shift(rng: np.random.Generator, canvas: Size) -> tuple[int, int]:
    """Left and top of the scaled photo: about the middle, shifted by its published ranges."""
    across, down = rng.uniform(-0.4, 0.4), rng.uniform(0.10, 0.25)
    start = (1 - SCALE) / 2
    return round((start + across) * canvas.width), round((start + down) * canvas.height)


def where_it_would_place(product: Product, canvas: Size, seed: int) -> Placement:
    """Where this way puts a product from this seed; a part of it may lie outside the canvas."""
    left, top = random_shift(np.random.default_rng(seed), canvas)
    height, width = product.mask.shape
    across, down = SCALE * canvas.width / width, SCALE * canvas.height / height
    return Placement(
        scale=max(product.box.size.height * down, product.box.size.width * across) / canvas.shorter_side,
        x=(left + (product.box.left + product.box.right) / 2 * across) / canvas.width,
        y=(top + product.box.bottom * down) / canvas.height,
    )


def is_cut(product: Product, canvas: Size, rng: np.random.Generator) -> bool:
    """Whether one draw of the shift pushes part of the product out of the canvas."""
    left, top = random_shift(rng, canvas)
    height, width = product.mask.shape
    across, down = SCALE * canvas.width / width, SCALE * canvas.height / height
    return not (
        left + round(product.box.left * across) >= 0
        and top + round(product.box.top * down) >= 0
        and left + round(product.box.right * across) <= canvas.width
        and top + round(product.box.bottom * down) <= canvas.height
    )


def _placed(picture: np.ndarray, canvas: Size, left: int, top: int) -> np.ndarray:
    """The photo squashed into the canvas, then scaled and shifted; what sticks out is lost."""
    small = _resized(_resized(picture, canvas, 1.0), canvas, SCALE)
    height, width = small.shape[:2]
    sheet = np.zeros((3 * canvas.height, 3 * canvas.width, *small.shape[2:]), np.uint8)
    sheet[canvas.height + top :, canvas.width + left :][:height, :width] = small
    return sheet[canvas.height : 2 * canvas.height, canvas.width : 2 * canvas.width]


def _resized(picture: np.ndarray, canvas: Size, factor: float) -> np.ndarray:
    size = (round(canvas.width * factor), round(canvas.height * factor))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _centroid(mask: np.ndarray) -> float:
    rows = (mask > 0).sum(axis=1)
    return float(np.arange(len(rows)) @ rows / max(1, rows.sum()))


def _placed_product(product: Product, canvas: Size, left: int, top: int) -> PlacedProduct:
    """The photo resampled once to where the replaced way put it: what its pixels are held against."""
    height, width = (round(SCALE * side) for side in (canvas.height, canvas.width))
    resampled = []
    for part, kernel in ((product.photo, Image.Resampling.LANCZOS), (product.mask, Image.Resampling.BICUBIC)):
        small = np.asarray(Image.fromarray(part).resize((width, height), kernel))
        sheet = np.zeros((3 * canvas.height, 3 * canvas.width, *small.shape[2:]), np.uint8)
        sheet[canvas.height + top :, canvas.width + left :][:height, :width] = small
        resampled.append(sheet[canvas.height : 2 * canvas.height, canvas.width : 2 * canvas.width])
    pixels, mask = resampled
    box = bounding_box(ProductMask(mask))
    return PlacedProduct(
        pixels=Pixels(frozen_array(pixels[box.slices])),
        mask=ProductMask(frozen_array(mask[box.slices])),
        box=box,
        canvas=canvas,
        placement=_placement_of(box, canvas),
    )


def _placement_of(box: Box, canvas: Size) -> Placement:
    return Placement(
        scale=max(box.size.height, box.size.width) / canvas.shorter_side,
        x=(box.left + box.right) / 2 / canvas.width,
        y=box.bottom / canvas.height,
    )
