"""The product's pixels are untouched, its edge is soft, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask
from inpaint_server.domain.geometry import Placement, Size
from inpaint_server.domain.product import PlacedProduct, Product
from inpaint_server.imaging.composite import (
    blurred_inverse,
    composite_product,
    default_feather,
    matte,
    restore_unmasked,
)
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.placement import place
from testing.pictures import brute_erosion, disc, noise, rectangle

CANVAS = Size(height=128, width=160)
FEATHERS = [0, 1, 2, 3, 4, 7]


def _placed(product: Product, scale: float = 0.6) -> PlacedProduct:
    return place(product, CANVAS, Placement(scale=scale, x=0.5, y=0.9), np.random.default_rng(0))


def _flat(placed: PlacedProduct, value: int) -> PlacedProduct:
    return replace(placed, pixels=Pixels(np.full_like(placed.pixels, value)))


@pytest.mark.parametrize("feather", FEATHERS)
@pytest.mark.parametrize(
    "product", [rectangle(40, 30), disc(15), disc(50), disc(300)], ids=["box", "resize_to_canvas", "disc", "shrunk"]
)
def test_pixels_inside_eroded_mask_are_unchanged(product: Product, feather: int):
    placed = _placed(product)
    laid = composite_product(noise(128, 160, seed=1), placed, feather)
    inside = brute_erosion(np.pad(placed.mask, feather + 1), feather)[
        feather + 1 : -feather - 1, feather + 1 : -feather - 1
    ]
    if feather == 0:
        inside = placed.mask  # the mask itself: whole where it is 255
    chosen = inside == 255
    assert chosen.any()
    difference = laid[placed.box.slices].astype(int) - placed.pixels
    assert np.abs(difference[chosen]).max() == 0


@pytest.mark.parametrize("feather", FEATHERS)
@pytest.mark.parametrize("product", [rectangle(40, 30), disc(15), disc(300)], ids=["box", "resize_to_canvas", "shrunk"])
def test_canvas_beyond_soft_edge_is_untouched(product: Product, feather: int):
    placed, canvas = _placed(product), noise(128, 160, seed=1)
    outside = brute_erosion(255 - np.where(mask_on_canvas(placed) > 0, 255, 0).astype(np.uint8), feather) == 255
    np.testing.assert_array_equal(composite_product(canvas, placed, feather)[outside], canvas[outside])


@pytest.mark.parametrize("feather", [2, 4, 6])
def test_product_filling_its_box_has_soft_edges(feather: int):
    placed = _flat(_placed(rectangle(40, 30)), 255)
    laid = composite_product(Pixels(np.zeros((128, 160, 3), np.uint8)), placed, feather)[..., 0].astype(int)
    box = placed.box
    row, column = laid[(box.top + box.bottom) // 2], laid[:, (box.left + box.right) // 2]
    for line in (row[box.left :], row[: box.right][::-1], column[box.top :], column[: box.bottom][::-1]):
        assert 0 < line[0] < 255
        assert (np.diff(line[: feather // 2 + 1]) > 0).all()
        assert line[feather // 2 + 1] == 255  # one more: the resampled mask is soft there
    assert 0 < row[box.left - 1] < row[box.left], "the edge goes on outside the box"


def test_edge_at_canvas_border_is_not_softened():
    product = rectangle(40, 30, margin=0)
    placed = place(product, Size(height=40, width=64), "original", np.random.default_rng(0))
    white = _flat(placed, 255)
    laid = composite_product(Pixels(np.zeros((40, 64, 3), np.uint8)), white, 3)
    column = laid[:, placed.box.left + 15, 0]
    assert (column == 255).all()


@pytest.mark.parametrize(
    ("feather", "ramp"), [(0, []), (1, []), (2, [85, 170]), (3, [85, 170]), (4, [51, 102, 153, 204])]
)
def test_matte_ramp(feather: int, ramp: list[int]):
    mask = np.zeros((21, 30), np.uint8)
    mask[:, 10:] = 255
    half = len(ramp) // 2
    assert matte(ProductMask(mask), feather)[10].tolist() == [0] * (10 - half) + ramp + [255] * (20 - half)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_thin_strap_is_visible(width: int):
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20 : 20 + width] = 255
    assert matte(ProductMask(mask), 3)[20].max() >= 85


def test_float_to_uint8_rounds():
    placed = _flat(_placed(rectangle(40, 30)), 201)
    canvas = Pixels(np.full((128, 160, 3), 30, np.uint8))
    alpha = matte(mask_on_canvas(placed), 4).astype(float) / 255
    laid = composite_product(canvas, placed, 4)
    assert np.abs(laid[..., 0] - (30 * (1 - alpha) + 201 * alpha)).max() <= 0.5
    assert not laid.flags.writeable


@pytest.mark.parametrize("feather", [1, 2, 4])
def test_edge_has_no_colour_of_old_background(feather: int):
    placed = _flat(_placed(disc(50)), 200)
    spilled = placed.pixels.copy()
    spilled[matte(mask_on_canvas(placed), feather)[placed.box.slices] < 255] = (0, 255, 0)
    laid = composite_product(
        Pixels(np.full((128, 160, 3), 40, np.uint8)), replace(placed, pixels=Pixels(spilled)), feather
    )
    assert laid.min() >= 40
    assert laid.max() <= 200
    assert (laid[..., 0] == laid[..., 1]).all(), "no green is left"


def test_edge_has_no_colour_of_scene_under_product():
    placed = _flat(_placed(disc(50)), 200)
    canvas = np.full((128, 160, 3), 40, np.uint8)
    canvas[mask_on_canvas(placed) >= 128] = (0, 255, 0)
    laid = composite_product(Pixels(canvas), placed, 2)
    assert (laid[..., 0] == laid[..., 1]).all(), "no green is left"


def test_unmasked_pixels_are_restored_with_8_pixel_ramp():
    before, painted = Pixels(np.zeros((60, 60, 3), np.uint8)), Pixels(np.full((60, 60, 3), 200, np.uint8))
    mask = np.zeros((60, 60), np.uint8)
    mask[30:] = 255
    kept = restore_unmasked(before, painted, PaintMask(mask))
    column = kept[:, 30, 0].astype(int)
    assert (column[30:] == 200).all()
    assert (column[:22] == 0).all()
    assert (np.diff(column[21:31]) > 0).all()


def test_all_or_nothing_repainted():
    before, painted = noise(32, 40, seed=1), noise(32, 40, seed=2)
    everything, nothing = np.full((32, 40), 255, np.uint8), np.zeros((32, 40), np.uint8)
    np.testing.assert_array_equal(restore_unmasked(before, painted, PaintMask(everything)), painted)
    np.testing.assert_array_equal(restore_unmasked(before, painted, PaintMask(nothing)), before)


@pytest.mark.parametrize(("side", "feather"), [(64, 1), (256, 1), (512, 1), (1024, 2), (2048, 4)])
def test_feather_grows_with_canvas(side: int, feather: int):
    assert default_feather(Size(height=side, width=2048)) == feather


def test_anti_mask_is_inverted_and_soft():
    mask = np.zeros((100, 100), np.uint8)
    mask[:, 50:] = 255
    soft = blurred_inverse(ProductMask(mask))
    assert soft.shape == (100, 100)
    assert soft[50, 0] == 255
    assert soft[50, 99] == 0
    assert 100 < soft[50, 49] < 155
