"""Filling a region from its surroundings before it is repainted."""

from __future__ import annotations

import numpy as np

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask
from inpaint_server.imaging.fill import fill_from_surroundings
from testing.pictures import noise

NO_PRODUCT = ProductMask(np.zeros((60, 80), np.uint8))


def hole(rows: slice, columns: slice) -> PaintMask:
    mask = np.zeros((60, 80), np.uint8)
    mask[rows, columns] = 255
    return PaintMask(mask)


def test_hole_takes_surrounding_colour():
    canvas = np.full((60, 80, 3), (40, 90, 200), np.uint8)
    mask = hole(slice(10, 50), slice(10, 70))
    canvas[mask > 0] = 255
    assert (fill_from_surroundings(Pixels(canvas), mask, NO_PRODUCT) == (40, 90, 200)).all()


def test_fill_is_gradient_between_two_colours():
    canvas = np.zeros((60, 80, 3), np.uint8)
    canvas[:, 40:] = 200
    across = fill_from_surroundings(Pixels(canvas), hole(slice(0, 60), slice(20, 60)), NO_PRODUCT)[30, :, 0].astype(int)
    assert across[20] <= 10
    assert across[59] >= 190
    assert np.diff(across[20:60]).min() >= 0
    assert np.diff(across[20:60]).max() <= 40


def test_fill_keeps_pixels_and_ignores_product_colours():
    canvas = np.full((60, 80, 3), 100, np.uint8)
    product = np.zeros((60, 80), np.uint8)
    product[20:40, 30:50] = 255
    canvas[product > 0] = 250
    filled = fill_from_surroundings(Pixels(canvas), hole(slice(40, 60), slice(0, 80)), ProductMask(product))
    assert (filled[40:] == 100).all()
    np.testing.assert_array_equal(filled[:40], canvas[:40])


def test_fill_of_whole_canvas():
    canvas = noise(60, 80)
    assert fill_from_surroundings(canvas, hole(slice(0, 60), slice(0, 80)), NO_PRODUCT) is canvas
