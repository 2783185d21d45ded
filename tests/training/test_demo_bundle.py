"""Quality of the demo bundle, measured on pictures that it was not trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint_server.models.bundle import DEMO
from inpaint_server.models.manifest import verify
from training.assemble import size_in_bytes
from training.dataset import Composites, render
from training.evaluate import (
    judge_backgrounds,
    judge_lower_passes,
    judge_masks,
    judge_photos,
    judge_seams,
    load_predictor,
)
from training.judge import Judge
from training.making import Making
from training.sampling import Bundle, Sampling

HERE = Path(__file__).parent
PHOTOS = DEMO.parent / "photos"
MAKING = Making.demo()
SAMPLING = Sampling(steps=15, guidance_scale=MAKING.guidance_scale)


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Composites:
    return render(MAKING.held_out.recipe, 40, tmp_path_factory.mktemp("held-out"), workers=1)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(DEMO)


def test_demo_bundle_is_complete_small_and_safe():
    assert verify(DEMO) == []
    assert size_in_bytes(DEMO) <= 24e6
    assert {path.suffix for path in DEMO.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".txt"}


def test_segmentation_finds_held_out_products(held_out: Composites):
    figures = judge_masks(load_predictor(DEMO), held_out)

    assert figures["IoU from the centre point"] >= 0.90
    assert figures["IoU from the box"] >= 0.90


def test_segmentation_finds_products_of_demo_photos():
    figures = judge_photos(load_predictor(DEMO), PHOTOS, HERE / "masks")

    assert len(figures) == 6
    assert np.mean(list(figures.values())) >= 0.80, figures
    assert min(figures.values()) >= 0.65, figures


def test_backgrounds_follow_prompts(bundle: Bundle):
    judge = Judge.load(HERE / "judges" / "backdrops.safetensors")

    assert judge_backgrounds(bundle, judge, per_word=2, sampling=SAMPLING)["all"] >= 0.70


def test_lower_pass_follows_foreground_prompt(bundle: Bundle, held_out: Composites):
    judge = Judge.load(HERE / "judges" / "surfaces.safetensors")

    assert judge_lower_passes(bundle, judge, held_out, per_word=2, sampling=SAMPLING)["all"] >= 0.60


def test_inpainting_continues_surroundings(bundle: Bundle, held_out: Composites):
    assert judge_seams(bundle, held_out.first(24), sampling=SAMPLING)["ratio"] <= 1.5


def test_demo_picture_does_not_depend_on_batch(bundle: Bundle):
    few = Sampling(steps=3, guidance_scale=MAKING.guidance_scale)
    together = bundle.backgrounds(["forest", "sand"], [1, 2], size=(64, 64), sampling=few)
    alone = bundle.backgrounds(["sand"], [2], size=(64, 64), sampling=few)

    assert np.abs(together[1].astype(int) - alone[0].astype(int)).max() <= 1
