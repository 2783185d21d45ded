"""The scene's light on the product."""

from __future__ import annotations

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.geometry import Size
from inpaint_server.imaging.light import match_light
from inpaint_server.imaging.placement import place
from testing.pictures import rectangle

PRODUCT = rectangle(40, 30)
PLACED = place(PRODUCT, Size(height=80, width=80), "centre", np.random.default_rng(0))


def plain(*colour: int) -> Pixels:
    return Pixels(frozen_array(np.full((80, 80, 3), colour, np.uint8)))


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_warm_light_warms_product_by_strength(strength: float):
    lit = match_light(plain(239, 199, 159), PLACED, plain(199, 199, 199), strength)
    expected = PLACED.pixels * np.array([240 / 200, 1.0, 160 / 200]) ** strength
    assert np.abs(lit.pixels - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-9
    assert lit.mask is PLACED.mask


def test_channel_gain_is_bounded():
    lit = match_light(plain(255, 0, 0), PLACED, plain(100, 100, 100), 1.0)
    assert (
        np.abs(lit.pixels - np.clip(PLACED.pixels * np.array([1.35, 1 / 1.35, 1 / 1.35]), 0, 255)).max() <= 0.5 + 1e-9
    )


def test_zero_light_match_changes_nothing():
    assert match_light(plain(255, 0, 0), PLACED, PRODUCT.photo, 0.0) is PLACED
