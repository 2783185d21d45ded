"""What a bundle may carry beside the models it must: a safety checker, an upscaler; and judging by what it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    Swin2SRConfig,
    Swin2SRForImageSuperResolution,
)

from inpaint_server.models import bundle as bundles
from inpaint_server.models.device import choose
from inpaint_server.models.painter import Painter
from inpaint_server.types import (
    Check,
    Enlarge,
    Generate,
    Judge,
    PaintMask,
    Pixels,
    Sampling,
    Size,
    WordedRegion,
    frozen_array,
)

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def picture(seed: int = 0, side: int = 64) -> Pixels:
    return Pixels(frozen_array(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)))


def save_safety_checker(checker_folder: Path, processor_folder: Path, *, threshold: float) -> None:
    """A checker of random weights that takes a picture for unsafe whose likeness to a concept is above a threshold."""
    torch.manual_seed(0)
    config = CLIPConfig(vision_config={**SMALL, "image_size": 32, "patch_size": 8}, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config)
    for embeddings in (checker.concept_embeds, checker.special_care_embeds):
        embeddings.data = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1))
    checker.concept_embeds_weights.data.fill_(threshold)
    checker.special_care_embeds_weights.data.fill_(1.0)
    checker.save_pretrained(checker_folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        processor_folder
    )


def save_upscaler(folder: Path) -> None:
    config = Swin2SRConfig(
        image_size=32, embed_dim=12, depths=[1], num_heads=[2], window_size=8, upscale=2, upsampler="pixelshuffledirect"
    )
    Swin2SRForImageSuperResolution(config).save_pretrained(folder)


def painter_of(folder: Path) -> Painter:
    bundles.write_manifest(folder, name="test", version="1", licence="none", native_size=256)
    return Painter(bundles.open_bundle(folder), choose("cpu", "float32"))


@pytest.mark.parametrize(("threshold", "unsafe"), [(-1.0, True), (1.0, False)])
def test_a_bundles_safety_checker_is_asked_about_every_picture(copy: Path, *, threshold: float, unsafe: bool):
    folder = copy / bundles.SAFETY_CHECKER
    save_safety_checker(folder, folder, threshold=threshold)
    painter = painter_of(copy)
    assert bundles.open_bundle(copy).defaults.safety_checker
    shown = [picture(0), picture(1, side=96)]
    before = [np.array(one) for one in shown]
    assert painter.check([Check(picture=one) for one in shown]) == [unsafe, unsafe]
    assert all(np.array_equal(one, other) for one, other in zip(shown, before, strict=True)), "none was blackened"


def test_a_bundles_upscaler_enlarges_by_its_own_factor(copy: Path):
    save_upscaler(copy / bundles.UPSCALER)
    painter = painter_of(copy)
    assert bundles.open_bundle(copy).defaults.upscaler
    odd = Pixels(picture()[:37, :50].copy())
    (made,) = painter.enlarge([Enlarge(picture=odd)])
    assert (made.shape, made.dtype) == ((74, 100, 3), np.uint8)
    (again,) = painter.enlarge([Enlarge(picture=odd)])
    assert np.array_equal(made, again)


def test_the_demo_bundle_carries_neither():
    defaults = bundles.open_bundle(bundles.DEMO).defaults
    assert not defaults.safety_checker
    assert not defaults.upscaler


def test_a_picture_agrees_more_with_what_it_was_painted_from_than_with_other_words(painter: Painter):
    how = Sampling(steps=15, guidance_scale=4.0, scheduler="dpmpp_2m_karras")
    words = ("brick wall", "sunset over the sea", "forest")
    usual = Generate(prompt="", negative_prompt="", size=Size(height=256, width=256), sampling=how, noise_seed=3)
    under_way = painter.begin([replace(usual, prompt=prompt) for prompt in words])
    while not under_way[0].done:
        painter.advance(under_way)
    everywhere = PaintMask(frozen_array(np.full((256, 256), 255, np.uint8)))
    for made, prompt in zip(painter.finish(under_way), words, strict=True):
        judged = painter.judge(
            [Judge(picture=made, regions=(WordedRegion(mask=everywhere, prompt=other),)) for other in words]
        )
        assert words[int(np.argmax(judged))] == prompt
        assert max(judged) <= 1


def test_only_a_regions_own_pixels_are_judged(painter: Painter):
    shown = picture(side=128)
    upper = np.zeros((128, 128), np.uint8)
    upper[:64] = 255
    regions = [WordedRegion(mask=PaintMask(frozen_array(mask)), prompt="forest") for mask in (upper, 255 - upper)]
    one, other, both = painter.judge(
        [
            Judge(picture=shown, regions=(regions[0],)),
            Judge(picture=shown, regions=(regions[1],)),
            Judge(picture=shown, regions=tuple(regions)),
        ]
    )
    assert one != other
    assert both == pytest.approx((one + other) / 2, abs=1e-5)
    nothing = WordedRegion(mask=PaintMask(frozen_array(np.zeros((128, 128), np.uint8))), prompt="forest")
    assert painter.judge([Judge(picture=shown, regions=(nothing,))]) == [0.0]
