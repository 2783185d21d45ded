"""The safety checker and the upscaler that a bundle may have; scores of pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inpaint_server.domain.arrays import PaintMask, Pixels, frozen_array
from inpaint_server.domain.calls import CheckSafety, Generate, PromptRegion, Score, Upscale
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose
from inpaint_server.models.layout import SAFETY_CHECKER, UPSCALER
from inpaint_server.models.manifest import write_manifest
from testing.optional_models import save_safety_checker, save_upscaler
from testing.passes import decoded


def picture(seed: int = 0, side: int = 64) -> Pixels:
    return Pixels(frozen_array(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)))


def backend_of(folder: Path) -> TorchBackend:
    write_manifest(folder, name="test", version="1", licence="none", native_size=256)
    return TorchBackend(bundles.open_bundle(folder), choose("cpu", "float32"))


@pytest.mark.parametrize(("threshold", "unsafe"), [(-1.0, True), (1.0, False)])
def test_safety_checker_classifies_every_picture(copy: Path, *, threshold: float, unsafe: bool):
    folder = copy / SAFETY_CHECKER
    save_safety_checker(folder, folder, threshold=threshold)
    backend = backend_of(copy)
    assert bundles.open_bundle(copy).defaults.safety_checker
    shown = [picture(0), picture(1, side=96)]
    before = [np.array(one) for one in shown]
    assert backend.check_safety([CheckSafety(picture=one) for one in shown]) == [unsafe, unsafe]
    assert all(np.array_equal(one, other) for one, other in zip(shown, before, strict=True)), "none is blackened"


def test_upscaler_enlarges_by_its_factor(copy: Path):
    save_upscaler(copy / UPSCALER)
    backend = backend_of(copy)
    assert bundles.open_bundle(copy).defaults.upscaler
    odd = Pixels(picture()[:37, :50].copy())
    (enlarged,) = backend.upscale([Upscale(picture=odd)])
    assert (enlarged.shape, enlarged.dtype) == ((74, 100, 3), np.uint8)
    (again,) = backend.upscale([Upscale(picture=odd)])
    assert np.array_equal(enlarged, again)


def test_demo_bundle_has_no_optional_model():
    defaults = bundles.open_bundle(bundles.DEMO).defaults
    assert not defaults.safety_checker
    assert not defaults.upscaler


def test_score_is_highest_for_own_prompt(backend: TorchBackend):
    how = Sampling(steps=15, guidance_scale=4.0, scheduler="dpmpp_2m_karras")
    prompts = ("brick wall", "sunset over the sea", "forest")
    usual = Generate(prompt="", negative_prompt="", size=Size(height=256, width=256), sampling=how, noise_seed=3)
    states = backend.begin([replace(usual, prompt=prompt) for prompt in prompts])
    while not states[0].done:
        backend.advance(states)
    everywhere = PaintMask(frozen_array(np.full((256, 256), 255, np.uint8)))
    for shown, prompt in zip(decoded(backend, states), prompts, strict=True):
        scores = backend.score(
            [Score(picture=shown, regions=(PromptRegion(mask=everywhere, prompt=other),)) for other in prompts]
        )
        assert prompts[int(np.argmax(scores))] == prompt
        assert max(scores) <= 1


def test_region_score_depends_only_on_its_pixels(backend: TorchBackend):
    shown = picture(side=128)
    upper = np.zeros((128, 128), np.uint8)
    upper[:64] = 255
    regions = [PromptRegion(mask=PaintMask(frozen_array(mask)), prompt="forest") for mask in (upper, 255 - upper)]
    one, other, both = backend.score(
        [
            Score(picture=shown, regions=(regions[0],)),
            Score(picture=shown, regions=(regions[1],)),
            Score(picture=shown, regions=tuple(regions)),
        ]
    )
    assert one != other
    assert both == pytest.approx((one + other) / 2, abs=1e-5)
    nothing = PromptRegion(mask=PaintMask(frozen_array(np.zeros((128, 128), np.uint8))), prompt="forest")
    assert backend.score([Score(picture=shown, regions=(nothing,))]) == [0.0]
