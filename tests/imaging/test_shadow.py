"""The shadow lies at the product's foot, darkens and never brightens, and goes away at 0."""

from __future__ import annotations

import numpy as np
import pytest

from inpaint_server.imaging.placement import place_at
from inpaint_server.imaging.shadow import cast_contact_shadow
from inpaint_server.types import Pixels, Placement, Size
from tests.imaging.pictures import rectangle

PLACED = place_at(rectangle(80, 40), Size(height=160, width=200), Placement(scale=0.5, x=0.5, y=0.8))
GREY = Pixels(np.full((160, 200, 3), 180, np.uint8))


def test_no_strength_no_shadow():
    np.testing.assert_array_equal(cast_contact_shadow(GREY, PLACED, 0.0), GREY)


@pytest.mark.parametrize("strength", [0.2, 0.6, 1.0])
def test_it_is_darkest_where_the_product_touches_and_fades_away(strength: float):
    shaded = cast_contact_shadow(GREY, PLACED, strength)[..., 0].astype(int)
    middle = (PLACED.box.left + PLACED.box.right) // 2
    below = shaded[PLACED.box.bottom :, middle]
    assert shaded.min() == pytest.approx(180 * (1 - strength), abs=1)
    assert below[0] < 180 - 0.3 * 180 * strength
    assert (np.diff(below) >= 0).all()
    assert below[-1] == 180
    assert shaded.max() == 180
    assert (shaded[: PLACED.box.top] == 180).all(), "nothing lies behind the product's top"


def test_it_is_wider_than_high():
    shaded = cast_contact_shadow(GREY, PLACED, 0.8)[..., 0] < 170
    rows, columns = np.flatnonzero(shaded.any(axis=1)), np.flatnonzero(shaded.any(axis=0))
    beside = PLACED.box.left - columns[0]
    beneath = rows[-1] - (PLACED.box.bottom - 1)
    assert beside > beneath > 0
