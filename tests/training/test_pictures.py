"""Training pictures: determined by their seed, with exact masks."""

from pathlib import Path

import numpy as np
import pytest

from training.captions import nothing, prompt
from training.composites import make_composite
from training.dataset import Composites, Recipe, Words, render
from training.figure import as_mask
from training.lens import develop, frame
from training.paint import noise
from training.products import PRODUCTS
from training.regions import REGIONS, paint_mask
from training.scenes import BACKDROPS, compose
from training.surfaces import MATERIALS

SHAPE = (96, 128)


def test_composite_depends_only_on_seed():
    first, again, other = (make_composite(np.random.default_rng(seed), SHAPE) for seed in (3, 3, 4))

    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    assert (first.surface, first.backdrop, first.split) == (again.surface, again.backdrop, again.split)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("seed", range(12))
def test_unmasked_pixels_are_empty_scene_with_shadow(seed: int):
    composite = make_composite(np.random.default_rng([5, seed]), SHAPE)
    free = composite.mask == 0
    edge = np.zeros_like(free)
    edge[1:] |= composite.mask[1:] != composite.mask[:-1]
    edge[:-1] |= composite.mask[1:] != composite.mask[:-1]
    edge[:, 1:] |= composite.mask[:, 1:] != composite.mask[:, :-1]
    edge[:, :-1] |= composite.mask[:, 1:] != composite.mask[:, :-1]

    lighter = composite.pixels.astype(int) - composite.empty.astype(int)

    assert set(np.unique(composite.mask)) == {0, 255}
    assert lighter[free & ~edge].max() <= 1  # a shadow only darkens; 1 is rounding
    assert 0 < composite.split < SHAPE[0]


@pytest.mark.parametrize("kind", PRODUCTS)
def test_product_fits_its_sheet(kind: str):
    product = PRODUCTS[kind](np.random.default_rng(1), 120)
    mask = as_mask(product)

    assert product.pixels.shape == (120, 120, 3)
    assert product.pixels.min() >= 0
    assert product.pixels.max() <= 1
    assert 0.05 < (mask > 0).mean() < 0.95
    assert not mask[0].any()  # nothing is cut off at the top


@pytest.mark.parametrize("backdrop", BACKDROPS)
def test_backdrops_combine_with_all_surfaces(backdrop: str):
    for index, surface in enumerate(MATERIALS):
        rng = np.random.default_rng(index)
        scene = compose(rng, (48, 64), backdrop=backdrop, surface=surface, edge=0.5)
        assert scene.pixels.shape == (48, 64, 3)
        assert np.isfinite(scene.pixels).all()
        assert scene.kinds == (backdrop, surface)
        assert scene.surface
        assert scene.backdrop


def test_noise_is_standardised_and_seamless():
    field = noise(np.random.default_rng(0), (64, 64), 3.0)

    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(field[0] - field[-1]).mean() < 3 * np.abs(np.diff(field, axis=0)).mean()


def test_second_render_reads_first(tmp_path: Path):
    recipe = Recipe(seed=1, shape=(48, 48))
    drawn = render(recipe, 3, tmp_path, workers=1)
    read = render(recipe, 3, tmp_path, workers=1)

    assert len(list(tmp_path.iterdir())) == 1
    assert isinstance(read, Composites)
    assert np.array_equal(drawn.pixels, read.pixels)
    assert drawn.words == read.words
    assert np.array_equal(read.pixels[2], recipe.draw(2).pixels)


def test_regions_are_disjoint_and_exclude_product():
    rng = np.random.default_rng(0)
    product = np.zeros((8, 6), np.uint8)
    product[2:7, 2:4] = 255
    lower, upper, around = (paint_mask(rng, region, product, 4) for region in ("lower", "upper", "around"))

    assert np.array_equal(lower | upper, around)
    assert not (lower & upper).any()
    assert np.array_equal(around, product == 0)
    assert not lower[:4].any()
    assert sum(REGIONS.values()) == pytest.approx(1)


def test_region_prompt_names_its_content():
    words = Words(backdrop=("forest",), surface=("snow",), kinds=("forest", "snow"))
    rng = np.random.default_rng(0)
    lower, upper, whole = ([prompt(rng, words, region) for _ in range(40)] for region in ("lower", "upper", "whole"))

    assert all("snow" in text and "forest" not in text for text in lower)
    assert all("snow" not in text for text in upper)
    assert all("snow" in text for text in whole)
    assert "" in {nothing(rng) for _ in range(20)}


def test_framed_photo_contains_product():
    composite = make_composite(np.random.default_rng(8), (128, 128), size=(0.5, 0.8))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        photo, mask = frame(rng, composite.pixels, composite.mask, side=64)
        assert max(photo.shape[:2]) == 64
        assert photo.shape[:2] == mask.shape
        assert mask.any()
        assert develop(rng, photo).shape == photo.shape
