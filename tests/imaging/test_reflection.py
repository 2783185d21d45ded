"""The product's reflection on the ground."""

from __future__ import annotations

import numpy as np

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.geometry import Placement, Size
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.imaging.placement import place
from inpaint_server.imaging.reflection import cast_reflection
from testing.pictures import rectangle

CANVAS = Size(height=120, width=100)
GREY = Pixels(frozen_array(np.full((120, 100, 3), 100, np.uint8)))


def placed() -> PlacedProduct:
    """A square of 50 x 50 in rows 30..80, columns 25..75."""
    return place(rectangle(50, 50), CANVAS, Placement(scale=0.5, x=0.5, y=80 / 120), np.random.default_rng(0))


def test_reflection_is_below_product_and_fades():
    white = PlacedProduct(
        pixels=Pixels(frozen_array(np.full((50, 50, 3), 250, np.uint8))),
        mask=placed().mask,
        box=placed().box,
        canvas=CANVAS,
        placement=placed().placement,
    )
    shown = cast_reflection(GREY, white, 0.5)[:, 50, 0].astype(int)
    assert shown[79] > shown[60] - 1
    assert 150 <= shown[83] <= 180
    assert np.all(np.diff(shown[83:100]) <= 0)
    assert np.all(shown[102:] == 100)


def test_ground_outside_reflection_is_unchanged():
    canvas = cast_reflection(GREY, placed(), 1.0)
    assert (canvas[:, :20] == 100).all()
    assert (canvas[:, 80:] == 100).all()
    assert (canvas[:75] == 100).all()


def test_zero_reflection_changes_nothing():
    assert cast_reflection(GREY, placed(), 0.0) is GREY


def test_product_at_lower_border_has_no_reflection():
    low = place(rectangle(50, 50), CANVAS, Placement(scale=0.5, x=0.5, y=1.0), np.random.default_rng(0))
    assert (cast_reflection(GREY, low, 1.0)[:115] == 100).all()
