"""A found mask moves to the outline in the photo, and nowhere else."""

from __future__ import annotations

import numpy as np

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.imaging.matting import refine


def _disc_photo(radius: float, size: int = 200) -> tuple[Pixels, ProductMask]:
    y, x = np.mgrid[:size, :size]
    coverage = np.clip(radius - np.hypot(y - size / 2, x - size / 2) + 0.5, 0, 1)[..., None]
    photo = np.rint(coverage * (200, 60, 40) + (1 - coverage) * (50, 120, 160)).astype(np.uint8)
    return Pixels(photo), ProductMask(np.where(coverage[..., 0] >= 0.5, 255, 0).astype(np.uint8))


def _blocky(mask: ProductMask, cell: int = 4) -> ProductMask:
    return ProductMask(np.kron(mask[cell // 2 :: cell, cell // 2 :: cell], np.ones((cell, cell), np.uint8)))


def _wrong_pixels(mask: ProductMask, true: ProductMask) -> int:
    return int(((mask >= 128) != (true >= 128)).sum())


def test_blocky_mask_takes_outline_of_photo():
    photo, true = _disc_photo(60)
    rough = _blocky(true)
    assert _wrong_pixels(refine(photo, rough), true) < _wrong_pixels(rough, true) / 4


def test_slightly_large_mask_shrinks_to_product():
    photo, true = _disc_photo(60)
    _, large = _disc_photo(62)
    assert _wrong_pixels(refine(photo, large), true) < _wrong_pixels(large, true) / 4


def test_mask_is_unchanged_away_from_edge():
    photo, _ = _disc_photo(30)
    _, large = _disc_photo(70)  # as segmented: the ring between belongs to the product
    refined = refine(photo, large)
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(y - 100, x - 100)
    assert (refined[distance < 60] == 255).all()
    assert (refined[distance > 80] == 0).all()


def test_empty_mask_is_unchanged():
    photo, true = _disc_photo(30)
    empty = ProductMask(np.zeros_like(true))
    assert not refine(photo, empty).any()


def test_refinement_keeps_large_resolution():
    photo, true = _disc_photo(700, size=1600)
    rough = _blocky(true, 16)
    refined = refine(photo, rough)
    assert refined.shape == rough.shape
    assert _wrong_pixels(refined, true) < _wrong_pixels(rough, true) / 4
