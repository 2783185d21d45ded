"""What a bundle may carry beside the models it must: a safety checker, an upscaler; and judging by what it has."""

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
from testing.optional_models import save_safety_checker, save_upscaler


def picture(seed: int = 0, side: int = 64) -> Pixels:
    return Pixels(frozen_array(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)))


def painter_of(folder: Path) -> TorchBackend:
    bundles.write_manifest(folder, name="test", version="1", licence="none", native_size=256)
    return TorchBackend(bundles.open_bundle(folder), choose("cpu", "float32"))


@pytest.mark.parametrize(("threshold", "unsafe"), [(-1.0, True), (1.0, False)])
def test_a_bundles_safety_checker_is_asked_about_every_picture(copy: Path, *, threshold: float, unsafe: bool):
    folder = copy / bundles.SAFETY_CHECKER
    save_safety_checker(folder, folder, threshold=threshold)
    painter = painter_of(copy)
    assert bundles.open_bundle(copy).defaults.safety_checker
    shown = [picture(0), picture(1, side=96)]
    before = [np.array(one) for one in shown]
    assert painter.check_safety([CheckSafety(picture=one) for one in shown]) == [unsafe, unsafe]
    assert all(np.array_equal(one, other) for one, other in zip(shown, before, strict=True)), "none was blackened"


def test_a_bundles_upscaler_enlarges_by_its_own_factor(copy: Path):
    save_upscaler(copy / bundles.UPSCALER)
    painter = painter_of(copy)
    assert bundles.open_bundle(copy).defaults.upscaler
    odd = Pixels(picture()[:37, :50].copy())
    (made,) = painter.upscale([Upscale(picture=odd)])
    assert (made.shape, made.dtype) == ((74, 100, 3), np.uint8)
    (again,) = painter.upscale([Upscale(picture=odd)])
    assert np.array_equal(made, again)


def test_the_demo_bundle_carries_neither():
    defaults = bundles.open_bundle(bundles.DEMO).defaults
    assert not defaults.safety_checker
    assert not defaults.upscaler


def test_a_picture_agrees_more_with_what_it_was_painted_from_than_with_other_words(painter: TorchBackend):
    how = Sampling(steps=15, guidance_scale=4.0, scheduler="dpmpp_2m_karras")
    words = ("brick wall", "sunset over the sea", "forest")
    usual = Generate(prompt="", negative_prompt="", size=Size(height=256, width=256), sampling=how, noise_seed=3)
    under_way = painter.begin([replace(usual, prompt=prompt) for prompt in words])
    while not under_way[0].done:
        painter.advance(under_way)
    everywhere = PaintMask(frozen_array(np.full((256, 256), 255, np.uint8)))
    for made, prompt in zip(painter.finish(under_way), words, strict=True):
        judged = painter.score(
            [Score(picture=made, regions=(PromptRegion(mask=everywhere, prompt=other),)) for other in words]
        )
        assert words[int(np.argmax(judged))] == prompt
        assert max(judged) <= 1


def test_only_a_regions_own_pixels_are_judged(painter: TorchBackend):
    shown = picture(side=128)
    upper = np.zeros((128, 128), np.uint8)
    upper[:64] = 255
    regions = [PromptRegion(mask=PaintMask(frozen_array(mask)), prompt="forest") for mask in (upper, 255 - upper)]
    one, other, both = painter.score(
        [
            Score(picture=shown, regions=(regions[0],)),
            Score(picture=shown, regions=(regions[1],)),
            Score(picture=shown, regions=tuple(regions)),
        ]
    )
    assert one != other
    assert both == pytest.approx((one + other) / 2, abs=1e-5)
    nothing = PromptRegion(mask=PaintMask(frozen_array(np.zeros((128, 128), np.uint8))), prompt="forest")
    assert painter.score([Score(picture=shown, regions=(nothing,))]) == [0.0]
