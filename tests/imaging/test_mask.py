"""Which pieces and holes belong to the product."""

from __future__ import annotations

import time

import numpy as np
import pytest

from inpaint_server.domain.arrays import ProductMask
from inpaint_server.domain.geometry import Box
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.mask import bounding_box, clean, drop_strays, erode, find_product
from testing.pictures import brute_erosion, noise


def _drawn(*rows: str) -> ProductMask:
    """A mask from text: # = 255, + = 100, . = 0."""
    values = {"#": 255, "+": 100, ".": 0}
    return ProductMask(np.array([[values[letter] for letter in row] for row in rows], np.uint8))


def _block(*boxes: tuple[int, int, int, int], size: int = 200) -> ProductMask:
    mask = np.zeros((size, size), np.uint8)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 255
    return ProductMask(mask)


def test_specks_are_dropped_and_pieces_kept():
    body, second, speck = (50, 50, 150, 150), (160, 50, 170, 150), (10, 10, 12, 12)
    np.testing.assert_array_equal(clean(_block(body, second, speck)), _block(body, second))


def test_pinholes_are_filled_and_holes_kept():
    mask = _block((20, 20, 180, 180)).copy()
    mask[50:80, 50:60] = 0  # a strap's loop
    expected = mask.copy()
    mask[100:103, 100:103] = 0
    mask[20, 100] = 0  # open to the outside: an edge, not a hole
    expected[20, 100] = 0
    np.testing.assert_array_equal(clean(ProductMask(mask)), expected)


def test_corner_connects_product_but_opens_no_hole():
    mask = _block((50, 50, 100, 100), (100, 100, 105, 105)).copy()
    mask[70, 70] = mask[71, 71] = 0
    np.testing.assert_array_equal(clean(ProductMask(mask)), _block((50, 50, 100, 100), (100, 100, 105, 105)))


def test_pinhole_touching_outside_at_corner_is_filled():
    mask = _block((50, 50, 150, 150)).copy()
    mask[50, 100] = 0  # a notch in the edge, and a pinhole that only touches its corner
    expected = mask.copy()
    mask[51, 101] = 0
    np.testing.assert_array_equal(clean(ProductMask(mask)), expected)


def test_spiral_is_one_piece():
    """Every arm is connected only through all the others."""
    mask = np.zeros((101, 101), np.uint8)
    row, column, step, reach = 50, 50, 0, 2
    while 0 <= row < 101 and 0 <= column < 101 and reach < 90:
        for _ in range(2):
            down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[step % 4]
            for _ in range(reach):
                if 0 <= row < 101 and 0 <= column < 101:
                    mask[row, column] = 255
                row, column = row + down, column + right
            step += 1
        reach += 2
    np.testing.assert_array_equal(clean(ProductMask(mask)), mask)


def test_components_agree_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inside = rng.random((60, 47)) < rng.uniform(0.2, 0.7)
        labels, _ = ndimage.label(inside, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        largest = areas == areas.max()
        cleaned = clean(ProductMask(np.where(inside, 255, 0).astype(np.uint8))) >= 128
        assert cleaned[largest[labels]].all()
        assert not cleaned[(areas < 0.02 * areas.max())[labels] & inside].any()


def test_soft_edge_is_kept():
    mask = _drawn("........", "..+##+..", "..+##+..", "..+##+..", "........")
    np.testing.assert_array_equal(clean(mask), mask)


@pytest.mark.parametrize("level", [0, 1, 127])
def test_empty_mask_is_refused(level: int):
    with pytest.raises(InvalidRequest, match="`points`") as caught:
        clean(ProductMask(np.full((20, 20), level, np.uint8)))
    assert caught.value.field == "points"


def test_full_mask_is_whole_photo():
    product = find_product(noise(20, 30), ProductMask(np.full((20, 30), 255, np.uint8)))
    assert product.box == Box(left=0, top=0, right=30, bottom=20)
    assert (product.mask == 255).all()


def test_box_contains_every_pixel():
    assert bounding_box(_block((3, 5, 7, 11), size=20)) == Box(left=5, top=3, right=11, bottom=7)


def test_erosion_by_zero_changes_nothing():
    soft = _drawn("..+##+..", "..+##+..")
    np.testing.assert_array_equal(erode(soft, 0), soft)


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_erosion_removes_pixels_within_radius(radius: int):
    rng = np.random.default_rng(radius)
    mask = np.where(rng.random((40, 50)) < 0.03, 100, rng.integers(128, 256, (40, 50))).astype(np.uint8)
    np.testing.assert_array_equal(erode(ProductMask(mask), radius), brute_erosion(mask, radius))


def test_large_noisy_mask_is_fast():
    rng = np.random.default_rng(0)
    started = time.process_time()
    clean(ProductMask(np.where(rng.random((2000, 2000)) < 0.5, 255, 0).astype(np.uint8)))
    assert time.process_time() - started < 10


def test_noise_mask_is_refused():
    mask = np.zeros((4400, 4400), np.uint8)
    mask[::2, ::2] = 255
    with pytest.raises(InvalidRequest, match="noise"):
        clean(ProductMask(mask))


def test_detached_pieces_are_dropped():
    body, strap, stray = (50, 50, 150, 150), (60, 40, 140, 47), (60, 180, 100, 199)
    np.testing.assert_array_equal(drop_strays(_block(body, strap, stray)), _block(body, strap))


def test_empty_found_mask_is_unchanged():
    np.testing.assert_array_equal(drop_strays(_block()), _block())
