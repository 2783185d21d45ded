"""The split line and the regions, as whole tables."""

from __future__ import annotations

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.geometry import Placement, Size
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import Region
from inpaint_server.imaging.layers import mask_on_canvas, paint_mask, split_line
from inpaint_server.imaging.placement import place
from testing.pictures import disc, rectangle

CANVAS = Size(height=64, width=80)


def _placed() -> PlacedProduct:
    """A square of 32 x 32 in rows 24..56, columns 24..56."""
    placed = place(rectangle(32, 32), CANVAS, Placement(scale=0.5, x=0.5, y=56 / 64), np.random.default_rng(0))
    assert (placed.box.left, placed.box.top, placed.box.right, placed.box.bottom) == (24, 24, 56, 56)
    return placed


@pytest.mark.parametrize(
    ("region", "first", "last"),
    [
        ("lower", 32, 64),
        ("upper", 0, 40),
        ("around", 0, 64),
        ((0.0, 1.0), 0, 64),
        ((0.25, 0.5), 16, 32),
        ((0.5, 0.5), 0, 0),
        ((0.0, 0.001), 0, 0),
    ],
)
def test_regions(region: Region, first: int, last: int):
    expected = np.zeros((64, 80), np.uint8)
    expected[first:last] = 255
    expected[24:56, 24:56] = 0
    mask = paint_mask(region, _placed(), 0.5)
    np.testing.assert_array_equal(mask, expected)
    assert not mask.flags.writeable


def test_lower_and_upper_overlap():
    placed = _placed()
    lower, upper = paint_mask("lower", placed, 0.5), paint_mask("upper", placed, 0.5)
    around = paint_mask("around", placed, 0.5)
    np.testing.assert_array_equal(np.maximum(lower, upper), around)
    assert ((lower > 0) & (upper > 0)).any(axis=1).sum() == 8


def test_product_is_never_repainted():
    product = mask_on_canvas(_placed()) >= 128
    for region in ("lower", "upper", "around"):
        assert not paint_mask(region, _placed(), 0.5)[product].any()


@pytest.mark.parametrize("split", [0.0, 1.0])
def test_split_at_border(split: float):
    placed = _placed()
    assert paint_mask("lower", placed, split).any() == (split == 0.0)
    assert paint_mask("upper", placed, split).any()


def test_split_range_above_centroid():
    lines = [split_line(_placed(), np.random.default_rng(seed)) * 64 for seed in range(500)]
    assert 40 - 32 / 3 - 0.6 <= min(lines) < 40 - 32 / 3 + 0.5
    assert 40 - 1 < max(lines) <= 40
    assert split_line(_placed(), np.random.default_rng(3)) * 64 == lines[3]


def test_split_depends_on_whole_mask():
    placed = place(disc(40), CANVAS, "centre", np.random.default_rng(0))
    assert 32 - 38 / 3 - 1 <= split_line(placed, np.random.default_rng(0)) * 64 <= 33


@pytest.mark.parametrize(("row", "line"), [(30, 30), (34, 34), (39, 39)])
def test_split_is_where_ground_begins(row: int, line: int):
    scene = np.full((64, 80, 3), 200, np.uint8)
    scene[row:] = 90
    for seed in range(5):
        split = split_line(_placed(), np.random.default_rng(seed), Pixels(scene))
        assert split * 64 == line


@pytest.mark.parametrize("row", [10, 50, None])
def test_split_without_usable_ground_line_is_random(row: int | None):
    scene = np.full((64, 80, 3), 200, np.uint8)
    scene[64 if row is None else row :] = 90
    drawn = [split_line(_placed(), np.random.default_rng(seed), Pixels(scene)) for seed in range(20)]
    assert drawn == [split_line(_placed(), np.random.default_rng(seed)) for seed in range(20)]
    assert len(set(drawn)) == 20
