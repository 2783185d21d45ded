"""How far the expansion figure can be trusted: read where nothing has grown, and where a known part was added."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.quality.replaced import Segmented
from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import MaskProposals, Segment
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.imaging.composite import composite_product
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import THRESHOLD
from inpaint_server.imaging.placement import place
from inpaint_server.imaging.receipt import expansion, product_points
from inpaint_server.pipeline import PipelineSteps, generate_background

DRAWN_ON: Final = 0.3
"""Of the product's area."""


def read_expansion(found: Segmented, request: AdvertRequest, seed: int) -> PipelineSteps[tuple[float, float]]:
    """Expansion of the product laid on a background that no pass has touched, and of the same, drawn on."""
    rng = np.random.default_rng(seed)
    background = yield generate_background(request, seed)
    assert isinstance(background, np.ndarray), "Generate is answered by pixels"
    placed = place(found.product, request.canvas, request.placement, rng)
    laid = composite_product(Pixels(background), placed, request.feather)
    read: list[float] = []
    for picture in (laid, drawn_on(laid, placed, rng)):
        found = yield Segment(photo=picture, points=product_points(placed), box=None, remember=False)
        assert isinstance(found, MaskProposals), "Segment is answered by mask proposals"
        read.append(expansion(found, placed))
    return read[0], read[1]


def drawn_on(picture: Pixels, placed: PlacedProduct, rng: np.random.Generator) -> Pixels:
    """The picture with a copy of the product beneath it, shifted inwards until `DRAWN_ON` of it looks out."""
    product, box, canvas = mask_on_canvas(placed) >= THRESHOLD, placed.box, placed.canvas
    inwards = np.arctan2(canvas.height - box.top - box.bottom, canvas.width - box.left - box.right)
    angle = inwards + rng.uniform(-np.pi / 4, np.pi / 4)
    for distance in range(1, max(canvas.height, canvas.width)):
        shift = (round(distance * np.sin(angle)), round(distance * np.cos(angle)))
        more = np.roll(product, shift, axis=(0, 1)) & ~product
        if more.sum() >= DRAWN_ON * product.sum():
            return Pixels(frozen_array(np.where(more[..., None], np.roll(picture, shift, axis=(0, 1)), picture)))
    return picture
