"""The shadow lies at the product's foot, darkens and never brightens, and goes away at 0."""

from __future__ import annotations

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Placement, Size
from inpaint_server.domain.product import Product
from inpaint_server.imaging.mask import find_product
from inpaint_server.imaging.placement import place_at
from inpaint_server.imaging.shadow import cast_contact_shadow
from testing.pictures import rectangle

PLACED = place_at(rectangle(80, 40), Size(height=160, width=200), Placement(scale=0.5, x=0.5, y=0.8))
GREY = Pixels(np.full((160, 200, 3), 180, np.uint8))


def test_zero_shadow_changes_nothing():
    np.testing.assert_array_equal(cast_contact_shadow(GREY, PLACED, 0.0), GREY)


@pytest.mark.parametrize("strength", [0.2, 0.6, 1.0])
def test_shadow_is_darkest_at_contact_and_fades(strength: float):
    shaded = cast_contact_shadow(GREY, PLACED, strength)[..., 0].astype(int)
    middle = (PLACED.box.left + PLACED.box.right) // 2
    below = shaded[PLACED.box.bottom :, middle]
    assert shaded.min() == pytest.approx(180 * (1 - strength), abs=1)
    assert below[0] < 180 - 0.3 * 180 * strength
    assert (np.diff(below) >= 0).all()
    assert below[-1] == 180
    assert shaded.max() == 180
    assert (shaded[: PLACED.box.top] == 180).all(), "nothing lies behind the product's top"


def test_shadow_is_wider_than_high():
    shaded = cast_contact_shadow(GREY, PLACED, 0.8)[..., 0] < 170
    rows, columns = np.flatnonzero(shaded.any(axis=1)), np.flatnonzero(shaded.any(axis=0))
    beside = PLACED.box.left - columns[0]
    beneath = rows[-1] - (PLACED.box.bottom - 1)
    assert beside > beneath > 0


def speaker(base: slice, *, low: int) -> Product:
    """A body with a flat base at row `low`, and a strap beside it that hangs down to the last row."""
    mask = np.zeros((100, 100), np.uint8)
    mask[10:low, base] = 255
    mask[20:100, 5:15] = 255
    return find_product(Pixels(np.full((100, 100, 3), 20, np.uint8)), ProductMask(mask))


@pytest.mark.parametrize(
    ("base", "low", "stands"),
    [(slice(30, 95), 80, True), (slice(30, 45), 80, False), (slice(30, 95), 40, False)],
    ids=["a base", "too narrow, as a handle's", "too high, as a brim"],
)
def test_each_base_has_own_shadow(base: slice, low: int, *, stands: bool):
    placed = place_at(speaker(base, low=low), Size(height=200, width=200), Placement(scale=0.5, x=0.5, y=0.9))
    shaded = cast_contact_shadow(Pixels(np.full((200, 200, 3), 180, np.uint8)), placed, 1.0)[..., 0]
    factor = placed.box.size.width / 90
    under = placed.box.top + round((low - 10) * factor), placed.box.left + round((base.start + 8 - 5) * factor)
    assert (shaded[under] < 120) == stands
    assert shaded[placed.box.bottom - 1, placed.box.left + round(5 * factor)] < 120, "the strap's end touches, too"
