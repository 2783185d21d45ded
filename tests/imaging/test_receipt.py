"""The figures of a picture's receipt: identity, expansion and seam."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask
from inpaint_server.domain.calls import MaskProposals
from inpaint_server.domain.geometry import Box, Placement, Size
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.results import Receipt
from inpaint_server.imaging.composite import composite_product
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.placement import place_at
from inpaint_server.imaging.receipt import expansion, fault, identity, product_points, receipt_warnings, seam
from testing.pictures import disc, noise

CANVAS = Size(height=128, width=160)
PLACED = place_at(disc(50), CANVAS, Placement(scale=0.5, x=0.5, y=0.9))
NO_PRODUCT = ProductMask(np.zeros((128, 160), np.uint8))


def _found(*masks: np.ndarray) -> MaskProposals:
    return MaskProposals(masks=np.stack(masks), scores=(0.9, 0.5, 0.1))


def test_identity_of_unchanged_and_changed_product():
    picture = composite_product(noise(128, 160, seed=1), PLACED, 2)
    assert identity(picture, PLACED, 2) == 0
    changed = picture.copy()
    middle = ((PLACED.box.top + PLACED.box.bottom) // 2, (PLACED.box.left + PLACED.box.right) // 2)
    changed[middle] ^= 16
    assert identity(Pixels(changed), PLACED, 2) == 16


def test_expansion_is_outside_area_over_product_area():
    mask = mask_on_canvas(PLACED)
    area = (mask >= 128).sum()
    middle = (PLACED.box.left + PLACED.box.right) // 2
    grown = mask.copy()
    grown[PLACED.box.top - 20 : PLACED.box.top + 1, middle : middle + 10] = 255
    more = ((grown >= 128) & (mask < 128)).sum()
    stray = grown.copy()
    stray[:10, :20] = 255
    part = np.where(np.arange(160) < 80, mask, 0).astype(np.uint8)
    everything = np.full_like(mask, 255)
    assert more >= 200
    assert expansion(_found(everything, grown, part), PLACED) == pytest.approx(more / area)
    assert expansion(_found(everything, stray, part), PLACED) == pytest.approx(more / area), (
        "a detached piece is no growth"
    )
    assert expansion(_found(everything, mask, part), PLACED) == 0


@pytest.mark.parametrize("size", [Size(height=3, width=3), Size(height=100, width=4), Size(height=2, width=120)])
def test_no_growth_is_read_of_few_pixels_or_pole(size: Size):
    solid = ProductMask(np.full((size.height, size.width), 255, np.uint8))
    pixels = Pixels(np.zeros((size.height, size.width, 3), np.uint8))
    box = Box(left=20, top=20, right=20 + size.width, bottom=20 + size.height)
    thin = PlacedProduct(pixels=pixels, mask=solid, box=box, canvas=CANVAS, placement=PLACED.placement)
    everything = np.full((128, 160), 255, np.uint8)
    assert expansion(_found(everything, everything, everything), thin) is None


def test_no_growth_is_read_where_something_else_is_found():
    everything, nothing = np.full((128, 160), 255, np.uint8), np.zeros((128, 160), np.uint8)
    small = place_at(disc(50), CANVAS, Placement(scale=0.2, x=0.5, y=0.9))
    assert expansion(_found(everything, everything, nothing), small) is None
    assert expansion(_found(nothing, nothing, nothing), small) is None


def test_figure_that_cannot_be_read_is_neither_mentioned_nor_rewarded():
    unread, grown, good = (Receipt(identity=0, compared=1.0, expansion=one, seam=1.0) for one in (None, 0.4, 0.02))
    assert receipt_warnings(unread) == []
    assert fault(good) < fault(unread) < fault(grown)


def test_seam_is_step_but_not_texture():
    masks = [PaintMask(np.repeat(rows, 160, axis=1).astype(np.uint8)) for rows in _halves()]
    texture = noise(128, 160, seed=2)
    stepped = np.where(np.arange(128)[:, None, None] < 64, 20, 200).astype(np.uint8) + np.zeros((1, 160, 3), np.uint8)
    assert seam(texture, masks, NO_PRODUCT) == pytest.approx(1, abs=0.1)  # noise of 160 columns
    assert seam(Pixels(stepped), masks, NO_PRODUCT) == 181


def test_product_edge_is_no_seam():
    everywhere = PaintMask((255 - np.where(mask_on_canvas(PLACED) >= 128, 255, 0)).astype(np.uint8))
    picture = composite_product(Pixels(np.zeros((128, 160, 3), np.uint8)), PLACED, 0)
    assert seam(picture, [everywhere], mask_on_canvas(PLACED)) == 1


def test_inspection_points_of_disc():
    first, *others = product_points(PLACED)
    middle = ((PLACED.box.left + PLACED.box.right) / 2, (PLACED.box.top + PLACED.box.bottom) / 2)
    radius = PLACED.box.size.height / 2
    assert (first.x, first.y) == pytest.approx(middle, abs=3)
    distances = [math.dist((one.x, one.y), middle) for one in others]
    assert 0.5 * radius < min(distances) and max(distances) < 0.9 * radius
    angles = np.sort([math.atan2(one.y - middle[1], one.x - middle[0]) for one in others])
    assert np.diff(angles, append=angles[0] + 2 * math.pi).max() < math.pi / 2, "on all sides"
    assert {one.label for one in (first, *others)} == {1}


@pytest.mark.parametrize("size", [Size(height=1, width=300), Size(height=2000, width=2), Size(height=1, width=1)])
def test_inspection_points_lie_on_thin_product(size: Size):
    mask = np.full((size.height, size.width), 100, np.uint8)
    mask[-1, -1] = 255
    pixels = Pixels(np.zeros((*mask.shape, 3), np.uint8))
    box = Box(left=20, top=30, right=20 + size.width, bottom=30 + size.height)
    placement = Placement(scale=0.1, x=0.5, y=0.5)
    canvas = Size(height=2048, width=2048)
    thin = PlacedProduct(pixels=pixels, mask=ProductMask(mask), box=box, canvas=canvas, placement=placement)
    assert {(one.x, one.y) for one in product_points(thin)} == {(box.right - 1, box.bottom - 1)}


def test_receipt_within_bounds_has_no_warning():
    assert receipt_warnings(Receipt(identity=0, compared=1.0, expansion=0.1, seam=1.5)) == []
    grown, stepped = receipt_warnings(Receipt(identity=0, compared=1.0, expansion=0.42, seam=7.25))
    assert "grown by 42%" in grown
    assert "7.2 x" in stepped


def _halves() -> list[np.ndarray]:
    above = np.where(np.arange(128)[:, None] < 64, 255, 0)
    return [255 - above, above]
