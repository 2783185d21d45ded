"""Filling a region from its surroundings before it is repainted."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (61, 83), (64, 64), (100, 33)])
def test_fill_stays_between_known_colours_at_any_size(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    canvas = rng.integers(80, 121, (*shape, 3), dtype=np.uint8)
    mask = rng.integers(0, 2, shape, dtype=np.uint8) * 255
    product = np.where(rng.random(shape) < 0.2, 255, 0).astype(np.uint8)
    mask[0, 0] = product[0, 0] = 0
    canvas[(mask > 0) | (product > 0)] = 255
    filled = fill_from_surroundings(Pixels(canvas), PaintMask(mask), ProductMask(product))
    assert filled[mask == 0].tobytes() == canvas[mask == 0].tobytes()
    assert ((filled[mask > 0] >= 80) & (filled[mask > 0] <= 120)).all()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (30, 41), (59, 79)])
def test_single_known_pixel_fills_canvas(row: int, column: int):
    canvas = np.zeros((60, 80, 3), np.uint8)
    canvas[row, column] = (40, 90, 200)
    mask = np.full((60, 80), 255, np.uint8)
    mask[row, column] = 0
    assert (fill_from_surroundings(Pixels(canvas), PaintMask(mask), NO_PRODUCT) == (40, 90, 200)).all()


def test_fill_treats_both_axes_and_directions_alike():
    canvas = noise(64, 64)
    mask = np.zeros((64, 64), np.uint8)
    mask[12:44, 20:60] = 255
    product = np.zeros((64, 64), np.uint8)

    def fill(turned: np.ndarray, hole: np.ndarray) -> np.ndarray:
        return fill_from_surroundings(Pixels(turned), PaintMask(hole), ProductMask(product))

    filled = fill(canvas, mask)
    for turns in (1, 2, 3):
        turned = np.rot90(fill(np.rot90(canvas, turns), np.rot90(mask, turns)), -turns)
        # Sums in another order: a value in the middle between two grey levels may round either way.
        assert np.abs(turned.astype(int) - filled).max() <= 1
