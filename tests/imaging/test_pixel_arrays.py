"""Pictures as arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inpaint_server.domain.geometry import Size
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.pixel_arrays import from_numbers, mask_from_array, photo_from_array

LEVELS = np.linspace(0, 255, 16 * 16).round().astype(np.uint8).reshape(16, 16)
SIZE = Size(height=16, width=16)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (LEVELS, LEVELS),
        (LEVELS.astype(np.int64), LEVELS),
        (LEVELS.astype(np.float32), LEVELS),
        (LEVELS / 255, LEVELS),
        ((LEVELS / 255).astype(np.float16), LEVELS),
        (LEVELS > 99, np.where(LEVELS > 99, 255, 0)),
    ],
    ids=["uint8", "int64", "floats to 255", "floats to 1", "halves to 1", "booleans"],
)
def test_numbers_become_levels(array: np.ndarray, expected: np.ndarray):
    # Half precision has 11 bits: it holds 8 bits of level to within one.
    assert np.abs(from_numbers(array, "image")[..., 0] - expected.astype(int)).max() <= (array.dtype == np.float16)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_photo_of_each_number_of_channels(channels: int):
    array = np.repeat(LEVELS[..., None], channels, axis=2)
    photo, mask = photo_from_array(from_numbers(array, "image"))
    np.testing.assert_array_equal(photo, np.repeat(LEVELS[..., None], 3, axis=2))
    if channels == 4:
        np.testing.assert_array_equal(mask, LEVELS)
    else:
        assert mask is None


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (LEVELS > 99, np.where(LEVELS > 99, 255, 0)),
        ((LEVELS > 99).astype(int), np.where(LEVELS > 99, 255, 0)),
        (LEVELS, np.where(LEVELS, 255, 0)),
        (LEVELS / 255, LEVELS),
        (np.dstack([np.full((16, 16, 3), 255), np.where(LEVELS > 99, 255, 0)]), np.where(LEVELS > 99, 255, 0)),
    ],
    ids=["booleans", "0 and 1", "integers", "soft floats", "alpha"],
)
def test_mask_of_numbers(array: np.ndarray, expected: np.ndarray):
    np.testing.assert_array_equal(mask_from_array(from_numbers(array, "mask"), SIZE), expected)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((16, 16, 2)),
        np.zeros((1, 16, 16, 3)),
        np.zeros(16),
        np.zeros((0, 16, 3)),
        np.full((16, 16, 3), 256),
        np.full((16, 16, 3), -0.1),
        np.full((16, 16, 3), np.nan),
        np.full((16, 16, 3), np.inf),
        np.full((16, 16, 3), "7"),
        np.full((16, 16, 3), None),
        np.zeros((16, 16, 3), complex),
    ],
)
def test_anything_else_is_refused(array: Any):
    with pytest.raises(InvalidRequest, match="pixels") as refused:
        from_numbers(array, "image")
    assert refused.value.field == "image"
