"""The denoising loop against diffusers' own pipelines, alone against batched, and seed against seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
from PIL import Image

from inpaint_server.domain.arrays import PaintMask, Pixels, frozen_array
from inpaint_server.domain.calls import DiffusionCall, Generate, Inpaint, PromptRegion
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.bundle import DEMO, INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.schedulers import make_scheduler

SIZE = Size(height=64, width=96)
SCHEDULERS: tuple[Scheduler, ...] = (
    *("dpmpp_2m_karras", "dpmpp_2m", "euler", "euler_ancestral", "ddim", "pndm", "lcm", "unipc"),
)


def sampling(scheduler: Scheduler = "ddim", guidance_scale: float = 4.0, steps: int = 4) -> Sampling:
    return Sampling(steps=steps, guidance_scale=guidance_scale, scheduler=scheduler)


def generate(seed: int = 1, how: Sampling | None = None) -> Generate:
    return Generate(
        prompt="a wooden table", negative_prompt="grass", size=SIZE, sampling=how or sampling(), noise_seed=seed
    )


def inpaint(seed: int = 2, how: Sampling | None = None) -> Inpaint:
    canvas = np.random.default_rng(0).integers(0, 256, (SIZE.height, SIZE.width, 3), dtype=np.uint8)
    mask = np.zeros((SIZE.height, SIZE.width), np.uint8)
    mask[30:, 10:] = 255
    return Inpaint(
        canvas=Pixels(frozen_array(canvas)),
        mask=PaintMask(frozen_array(mask)),
        prompt="sand",
        negative_prompt="",
        sampling=how or sampling(),
        noise_seed=seed,
    )


def inpaint_jointly(seed: int = 2, how: Sampling | None = None, above: str = "sky") -> Inpaint:
    """Sand, and in the upper half of the canvas something else, in one pass."""
    ask = inpaint(seed, how)
    upper = np.array(ask.mask)
    upper[SIZE.height // 2 :] = 0
    return replace(ask, regions=(PromptRegion(mask=PaintMask(frozen_array(upper)), prompt=above),))


def paint(painter: TorchBackend, *asks: DiffusionCall) -> list[Pixels]:
    """Paint passes side by side, those that can in one evaluation, each leaving when it is done."""
    under_way = painter.begin(asks)
    while left := [one for one in under_way if not one.done]:
        first = min(left, key=lambda one: one.step)
        painter.advance([one for one in left if one.batch_key == first.batch_key])
    return painter.finish(under_way)


def difference(one: Any, other: Any) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


@pytest.fixture(scope="module")
def pipelines() -> tuple[Any, Any]:
    """diffusers' own pipelines on the same weights."""
    made: list[Any] = []
    for kind, folder in ((StableDiffusionPipeline, TEXT_TO_IMAGE), (StableDiffusionInpaintPipeline, INPAINTING)):
        pipeline: Any = kind.from_pretrained(DEMO / folder, dtype=torch.float32, local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        made.append(pipeline)
    return made[0], made[1]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_both_models_paint_what_diffusers_pipelines_paint(
    painter: TorchBackend, pipelines: tuple[Any, Any], scheduler: Scheduler
):
    """Within 1/255: the last bit before rounding depends on the order of two additions."""
    text_to_image, inpainting = pipelines
    how = sampling(scheduler)
    common = {
        "height": SIZE.height,
        "width": SIZE.width,
        "num_inference_steps": how.steps,
        "guidance_scale": how.guidance_scale,
    }
    text_to_image.scheduler = make_scheduler(scheduler, painter.text_to_image.noise_schedule)
    wanted = text_to_image(
        "a wooden table", negative_prompt="grass", generator=torch.Generator().manual_seed(1), **common
    ).images[0]
    assert difference(paint(painter, generate(how=how))[0], wanted) <= 1
    ask = inpaint(how=how)
    inpainting.scheduler = make_scheduler(scheduler, painter.inpainting.noise_schedule)
    wanted = inpainting(
        "sand",
        image=Image.fromarray(ask.canvas),
        mask_image=Image.fromarray(ask.mask),
        strength=1.0,
        generator=torch.Generator().manual_seed(2),
        **common,
    ).images[0]
    assert difference(paint(painter, ask)[0], wanted) <= 1


@pytest.mark.parametrize("make", [generate, inpaint, inpaint_jointly])
def test_batched_is_alone(painter: TorchBackend, make: Any):
    """Different steps, guidance and solvers in one batch; within 1/255, since kernels round by batch size."""
    hows = [
        *(sampling(), sampling("euler", 1.0, 6), sampling("dpmpp_2m_karras", 7.0, 2), sampling("euler_ancestral")),
        replace(sampling("euler", steps=5), guidance_interval=(0.3, 0.8)),
        replace(sampling("ddim"), reuse_features=2),
        replace(sampling("dpmpp_2m_karras", steps=5), guidance_interval=(0.0, 0.5), reuse_features=3),
    ]
    asks = [make(seed, how) for seed, how in enumerate(hows)]
    together = paint(painter, *asks)
    for ask, picture in zip(asks, together, strict=True):
        assert difference(paint(painter, ask)[0], picture) <= 1


def test_canvases_of_many_sizes_are_encoded_and_decoded_together_and_come_back_in_order(painter: TorchBackend):
    canvases = [Pixels(frozen_array(np.full((64, width, 3), 90, np.uint8))) for width in (64, 128, 64)]
    asks = [
        replace(inpaint(seed), canvas=canvas, mask=PaintMask(frozen_array(np.full(canvas.shape[:2], 255, np.uint8))))
        for seed, canvas in enumerate(canvases)
    ]
    under_way = painter.begin([asks[0], generate(), *asks[1:]])
    for one in under_way:
        while not one.done:
            painter.advance([one])
    together = painter.finish(under_way)
    for ask, picture in zip([asks[0], generate(), *asks[1:]], together, strict=True):
        assert difference(paint(painter, ask)[0], picture) <= 1


def test_a_pass_can_join_at_any_step(painter: TorchBackend):
    (early,), (late,) = painter.begin([generate(1)]), painter.begin([generate(2)])
    painter.advance([early])
    painter.advance([early])
    while not late.done:
        painter.advance([one for one in (early, late) if not one.done])
    assert difference(painter.finish([early])[0], paint(painter, generate(1))[0]) <= 1
    assert difference(painter.finish([late])[0], paint(painter, generate(2))[0]) <= 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(painter: TorchBackend):
    first, again, other = (paint(painter, generate(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert difference(first, other) > 10


def test_the_global_generator_is_left_alone(painter: TorchBackend):
    before = torch.random.get_rng_state()
    paint(painter, generate(how=sampling("euler_ancestral")))
    paint(painter, inpaint(how=sampling("euler_ancestral")))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_prompt_and_the_negative_prompt_matter(painter: TorchBackend):
    plain = generate()
    other_prompt = Generate(prompt="snow", negative_prompt="grass", size=SIZE, sampling=sampling(), noise_seed=1)
    other_negative = Generate(
        prompt="a wooden table", negative_prompt="wood", size=SIZE, sampling=sampling(), noise_seed=1
    )
    first, second, third = paint(painter, plain, other_prompt, other_negative)
    assert difference(first, second) > 10
    assert difference(first, third) > 10


def test_without_guidance_the_negative_prompt_costs_nothing(painter: TorchBackend):
    assert [len(one.words) for one in painter.begin([generate(how=sampling(guidance_scale=1.0))])] == [1]
    assert [len(one.words) for one in painter.begin([generate(how=sampling(guidance_scale=1.5))])] == [2]


def rows_of_each_step(painter: TorchBackend, ask: DiffusionCall) -> list[int]:
    (one,) = painter.begin([ask])
    rows: list[int] = []
    while not one.done:
        rows.append(len(one.words))
        painter.advance([one])
    return rows


@pytest.mark.parametrize(
    ("interval", "rows"),
    [((0.0, 1.0), [2] * 4), ((0.0, 0.5), [2, 2, 1, 1]), ((0.25, 0.75), [1, 2, 2, 1]), ((0.9, 1.0), [1] * 4)],
)
def test_guidance_costs_a_row_in_its_interval_only(
    painter: TorchBackend, interval: tuple[float, float], rows: list[int]
):
    assert rows_of_each_step(painter, generate(how=replace(sampling(), guidance_interval=interval))) == rows


def test_a_joint_step_takes_a_row_for_each_prompt_and_one_for_guidance(painter: TorchBackend):
    half = replace(sampling(), guidance_interval=(0.0, 0.5))
    assert rows_of_each_step(painter, inpaint_jointly(how=half)) == [3, 3, 2, 2]


def test_regions_with_the_same_words_are_one_pass_with_these_words(painter: TorchBackend):
    """Within 1/255: the same rows are added up in another order."""
    assert difference(*paint(painter, inpaint(), inpaint_jointly(above="sand"))) <= 1


def test_the_words_of_a_region_change_that_region_most(painter: TorchBackend):
    sand, snow = (picture.astype(int) for picture in paint(painter, inpaint(), inpaint_jointly(above="white snow")))
    apart = np.abs(sand - snow).mean(axis=2)[:, 10:]
    assert apart[30 : SIZE.height // 2].mean() > 2 * apart[SIZE.height // 2 + 8 :].mean()


def test_features_are_computed_anew_every_so_many_steps_and_when_guidance_begins(painter: TorchBackend):
    how = replace(sampling(steps=7), reuse_features=3, guidance_interval=(0.2, 1.0))
    (one,) = painter.begin([generate(how=how)])
    reused: list[bool] = []
    while not one.done:
        reused.append(one.reuses)
        painter.advance([one])
    assert reused == [False, True, False, False, True, True, False]


def test_features_used_again_give_nearly_the_same_picture(painter: TorchBackend):
    how = sampling("ddim", steps=12)
    plain, again, other = paint(
        painter, generate(how=how), generate(how=replace(how, reuse_features=2)), generate(seed=2, how=how)
    )
    near, far = (np.abs(plain.astype(int) - picture).mean() for picture in (again, other))
    assert 0 < near < far / 2, "nearer than to any other picture of these words"


def smooth(ask: Inpaint, strength: float) -> Inpaint:
    """The same on a canvas that the autoencoder can keep."""
    rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
    canvas = np.stack([rows * 2, columns * 2, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    return replace(ask, canvas=Pixels(frozen_array(canvas)), strength=strength)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_weaker_a_pass_the_fewer_steps_it_takes_and_the_more_of_the_canvas_it_keeps(
    painter: TorchBackend, scheduler: Scheduler
):
    changes: list[float] = []
    for strength, steps in ((0.25, 2), (1.0, 8)):
        ask = smooth(inpaint(how=sampling(scheduler, steps=8)), strength)
        assert painter.begin([ask])[0].steps in (steps, steps + (scheduler == "pndm"))  # pndm takes a step twice
        changes.append(float(np.abs(paint(painter, ask)[0].astype(int) - ask.canvas)[ask.mask > 0].mean()))
    assert changes[0] < 0.7 * changes[1]


def test_where_nothing_is_repainted_a_weaker_pass_leaves_the_latents_as_they_were(painter: TorchBackend):
    begun = painter.begin([smooth(inpaint(), 0.5)])[0]
    while not begun.done:
        painter.advance([begun])
    assert begun.origin is not None
    kept = (begun.origin.change == 0).expand_as(begun.latents)
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(begun.latents[kept], begun.origin.latents[kept])


def test_a_weaker_pass_is_the_same_alone_and_beside_others(painter: TorchBackend):
    asks = [smooth(inpaint(seed), strength) for seed, strength in ((2, 0.6), (3, 1.0), (4, 0.3))]
    for ask, beside in zip(asks, paint(painter, *asks), strict=True):
        assert difference(paint(painter, ask)[0], beside) <= 1
