"""The denoising loop: equal to diffusers' pipelines, independent of batches, determined by the seed."""

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
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.errors import OutOfMemory
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.bundle import DEMO
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.schedulers import make_scheduler
from testing.operations import Operations
from testing.passes import SCHEDULERS, SIZE, decoded, difference, generate, inpaint, run_passes, sampling


def inpaint_jointly(seed: int = 2, how: Sampling | None = None, above: str = "sky") -> Inpaint:
    """Sand, and in the upper half of the canvas another prompt, in one pass."""
    call = inpaint(seed, how)
    upper = np.array(call.mask)
    upper[SIZE.height // 2 :] = 0
    return replace(call, regions=(PromptRegion(mask=PaintMask(frozen_array(upper)), prompt=above),))


@pytest.fixture(scope="module")
def pipelines() -> tuple[Any, Any]:
    """diffusers' own pipelines on the same weights."""
    loaded: list[Any] = []
    for kind, folder in ((StableDiffusionPipeline, TEXT_TO_IMAGE), (StableDiffusionInpaintPipeline, INPAINTING)):
        pipeline: Any = kind.from_pretrained(DEMO / folder, dtype=torch.float32, local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        loaded.append(pipeline)
    return loaded[0], loaded[1]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_pictures_equal_diffusers_pipelines(backend: TorchBackend, pipelines: tuple[Any, Any], scheduler: Scheduler):
    """Within 1/255: the last bit before rounding depends on the order of two additions."""
    text_to_image, inpainting = pipelines
    how = sampling(scheduler)
    common = {
        "height": SIZE.height,
        "width": SIZE.width,
        "num_inference_steps": how.steps,
        "guidance_scale": how.guidance_scale,
    }
    text_to_image.scheduler = make_scheduler(scheduler, backend.text_to_image.noise_schedule)
    wanted = text_to_image(
        "a wooden table", negative_prompt="grass", generator=torch.Generator().manual_seed(1), **common
    ).images[0]
    assert difference(run_passes(backend, generate(how=how))[0], wanted) <= 1
    call = inpaint(how=how)
    inpainting.scheduler = make_scheduler(scheduler, backend.inpainting.noise_schedule)
    wanted = inpainting(
        "sand",
        image=Image.fromarray(call.canvas),
        mask_image=Image.fromarray(call.mask),
        strength=1.0,
        generator=torch.Generator().manual_seed(2),
        **common,
    ).images[0]
    assert difference(run_passes(backend, call)[0], wanted) <= 1


@pytest.mark.parametrize("make", [generate, inpaint, inpaint_jointly])
def test_picture_does_not_depend_on_its_batch(backend: TorchBackend, make: Any):
    """Different steps, guidance and solvers in one batch; within 1/255, since kernels round by batch size."""
    hows = [
        *(sampling(), sampling("euler", 1.0, 6), sampling("dpmpp_2m_karras", 7.0, 2), sampling("euler_ancestral")),
        replace(sampling("euler", steps=5), guidance_interval=(0.3, 0.8)),
        replace(sampling("ddim"), reuse_features=2),
        replace(sampling("dpmpp_2m_karras", steps=5), guidance_interval=(0.0, 0.5), reuse_features=3),
    ]
    calls = [make(seed, how) for seed, how in enumerate(hows)]
    together = run_passes(backend, *calls)
    for call, picture in zip(calls, together, strict=True):
        assert difference(run_passes(backend, call)[0], picture) <= 1


def test_canvases_of_several_sizes_keep_their_order(backend: TorchBackend):
    canvases = [Pixels(frozen_array(np.full((64, width, 3), 90, np.uint8))) for width in (64, 128, 64)]
    calls = [
        replace(inpaint(seed), canvas=canvas, mask=PaintMask(frozen_array(np.full(canvas.shape[:2], 255, np.uint8))))
        for seed, canvas in enumerate(canvases)
    ]
    states = backend.begin([calls[0], generate(), *calls[1:]])
    for one in states:
        while not one.done:
            backend.advance([one])
    together = decoded(backend, states)
    for call, picture in zip([calls[0], generate(), *calls[1:]], together, strict=True):
        assert difference(run_passes(backend, call)[0], picture) <= 1


def test_pass_joins_batch_at_any_step(backend: TorchBackend):
    (early,), (late,) = backend.begin([generate(1)]), backend.begin([generate(2)])
    backend.advance([early])
    backend.advance([early])
    while not late.done:
        backend.advance([one for one in (early, late) if not one.done])
    assert difference(decoded(backend, [early])[0], run_passes(backend, generate(1))[0]) <= 1
    assert difference(decoded(backend, [late])[0], run_passes(backend, generate(2))[0]) <= 1


def test_solver_out_of_memory_changes_nothing(backend: TorchBackend):
    """Whichever of the operations behind the model fails, the batch is repeated pass by pass, to the same pictures."""
    how = replace(sampling("unipc"), reuse_features=2)
    calls = [generate(1, how), generate(2, how)]
    states, others = backend.begin(calls), backend.begin(calls)
    with Operations() as operations:
        backend.advance(others)
    for behind_model in range(0, 12, 3):
        with Operations(fails_at=operations.all - behind_model), pytest.raises(OutOfMemory):
            backend.advance(states)
        assert [state.step for state in states] == [0, 0]
    for state in states:
        while not state.done:
            backend.advance([state])
    for call, picture in zip(calls, decoded(backend, states), strict=True):
        assert difference(run_passes(backend, call)[0], picture) <= 1


def test_seed_determines_picture(backend: TorchBackend):
    first, again, other = (run_passes(backend, generate(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert difference(first, other) > 10


def test_global_generator_is_not_used(backend: TorchBackend):
    before = torch.random.get_rng_state()
    run_passes(backend, generate(how=sampling("euler_ancestral")))
    run_passes(backend, inpaint(how=sampling("euler_ancestral")))
    assert torch.equal(before, torch.random.get_rng_state())


def test_prompts_change_picture(backend: TorchBackend):
    plain = generate()
    other_prompt = Generate(prompt="snow", negative_prompt="grass", size=SIZE, sampling=sampling(), noise_seed=1)
    other_negative = Generate(
        prompt="a wooden table", negative_prompt="wood", size=SIZE, sampling=sampling(), noise_seed=1
    )
    first, second, third = run_passes(backend, plain, other_prompt, other_negative)
    assert difference(first, second) > 10
    assert difference(first, third) > 10


def test_rows_without_guidance(backend: TorchBackend):
    assert [len(state.step_conditioning) for state in backend.begin([generate(how=sampling(guidance_scale=1.0))])] == [
        1
    ]
    assert [len(state.step_conditioning) for state in backend.begin([generate(how=sampling(guidance_scale=1.5))])] == [
        2
    ]


def rows_of_each_step(backend: TorchBackend, call: DiffusionCall) -> list[int]:
    (state,) = backend.begin([call])
    rows: list[int] = []
    while not state.done:
        rows.append(len(state.step_conditioning))
        backend.advance([state])
    return rows


@pytest.mark.parametrize(
    ("interval", "rows"),
    [((0.0, 1.0), [2] * 4), ((0.0, 0.5), [2, 2, 1, 1]), ((0.25, 0.75), [1, 2, 2, 1]), ((0.9, 1.0), [1] * 4)],
)
def test_rows_of_guidance_interval(backend: TorchBackend, interval: tuple[float, float], rows: list[int]):
    assert rows_of_each_step(backend, generate(how=replace(sampling(), guidance_interval=interval))) == rows


def test_rows_of_pass_with_regions(backend: TorchBackend):
    half = replace(sampling(), guidance_interval=(0.0, 0.5))
    assert rows_of_each_step(backend, inpaint_jointly(how=half)) == [3, 3, 2, 2]


def test_regions_with_same_prompt_equal_one_prompt(backend: TorchBackend):
    """Within 1/255: the same rows are added up in another order."""
    assert difference(*run_passes(backend, inpaint(), inpaint_jointly(above="sand"))) <= 1


def test_region_prompt_changes_its_region_most(backend: TorchBackend):
    sand, snow = (
        picture.astype(int) for picture in run_passes(backend, inpaint(), inpaint_jointly(above="white snow"))
    )
    apart = np.abs(sand - snow).mean(axis=2)[:, 10:]
    assert apart[30 : SIZE.height // 2].mean() > 2 * apart[SIZE.height // 2 + 8 :].mean()


def test_feature_reuse_schedule(backend: TorchBackend):
    how = replace(sampling(steps=7), reuse_features=3, guidance_interval=(0.2, 1.0))
    (one,) = backend.begin([generate(how=how)])
    reused: list[bool] = []
    while not one.done:
        reused.append(one.reuses_features)
        backend.advance([one])
    assert reused == [False, True, False, False, True, True, False]


def test_feature_reuse_changes_picture_little(backend: TorchBackend):
    how = sampling("ddim", steps=12)
    plain, again, other = run_passes(
        backend, generate(how=how), generate(how=replace(how, reuse_features=2)), generate(seed=2, how=how)
    )
    near, far = (np.abs(plain.astype(int) - picture).mean() for picture in (again, other))
    assert 0 < near < far / 2, "nearer than to the picture of another seed"


def smooth(call: Inpaint, strength: float) -> Inpaint:
    """The same call on a smooth canvas, which the autoencoder can represent."""
    rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
    canvas = np.stack([rows * 2, columns * 2, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    return replace(call, canvas=Pixels(frozen_array(canvas)), strength=strength)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_lower_strength_takes_fewer_steps_and_keeps_more(backend: TorchBackend, scheduler: Scheduler):
    changes: list[float] = []
    for strength, steps in ((0.25, 2), (1.0, 8)):
        call = smooth(inpaint(how=sampling(scheduler, steps=8)), strength)
        assert backend.begin([call])[0].steps in (steps, steps + (scheduler == "pndm"))  # pndm takes a step twice
        changes.append(float(np.abs(run_passes(backend, call)[0].astype(int) - call.canvas)[call.mask > 0].mean()))
    assert changes[0] < 0.7 * changes[1]


def test_lower_strength_keeps_latents_outside_mask(backend: TorchBackend):
    state = backend.begin([smooth(inpaint(), 0.5)])[0]
    while not state.done:
        backend.advance([state])
    assert state.free_cells is not None
    unchanged = ~state.free_cells[-1].expand_as(state.canvas[0])
    assert 0 < unchanged.sum() < unchanged.numel()
    assert torch.equal(state.latents[0, unchanged], state.canvas[0, unchanged])


def test_picture_of_lower_strength_does_not_depend_on_its_batch(backend: TorchBackend):
    calls = [smooth(inpaint(seed), strength) for seed, strength in ((2, 0.6), (3, 1.0), (4, 0.3))]
    for call, beside in zip(calls, run_passes(backend, *calls), strict=True):
        assert difference(run_passes(backend, call)[0], beside) <= 1
