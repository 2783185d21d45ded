"""A batch's step against diffusers' own schedulers, over whole passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inpaint_server.domain.arrays import PaintMask, Pixels, frozen_array
from inpaint_server.domain.calls import Inpaint
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.bundle import DEMO, open_bundle
from inpaint_server.models.denoising import DenoisingState, model_inputs, solve
from inpaint_server.models.device import choose
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.preparation import PassPreparation
from inpaint_server.models.schedulers import make_scheduler
from testing.passes import SCHEDULERS, run_passes

WEIGHTS = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(7)) * 0.25


def predict(samples: Tensor, timesteps: Tensor) -> Tensor:
    """A bounded function of what a model is given, which stands in for one."""
    latents = samples[:, :4].float()
    mixed = functional.conv2d(latents, WEIGHTS, padding=1) + timesteps[:, None, None, None] / 1000
    return (2 * torch.tanh(mixed)).to(samples)


def prepared(backend: TorchBackend, **options: str) -> PassPreparation:
    """The demo's, with another noise schedule."""
    checkpoint = replace(backend.inpainting, noise_schedule={**backend.inpainting.noise_schedule, **options})
    device = choose("cpu", "float32")
    return PassPreparation(checkpoint, checkpoint, device, MemoryEstimator(device))


def inpaint(scheduler: Scheduler, steps: int, strength: float = 1.0, seed: int = 5) -> Inpaint:
    """All of a canvas, unguided, so that the latents are the solver's alone."""
    return Inpaint(
        canvas=Pixels(frozen_array(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))),
        mask=PaintMask(frozen_array(np.full((64, 64), 255, np.uint8))),
        prompt="sand",
        negative_prompt="",
        sampling=Sampling(steps=steps, guidance_scale=1.0, scheduler=scheduler),
        noise_seed=seed,
        strength=strength,
    )


def run(*states: DenoisingState) -> list[Tensor]:
    """The last latents of passes that are advanced together as long as each has steps left."""
    while batch := [state for state in states if not state.done]:
        samples, timesteps, _ = model_inputs(batch)
        for state, carried in zip(batch, solve(batch, predict(samples, timesteps)), strict=True):
            state.take(carried)
    return [state.latents for state in states]


def run_diffusers(noise_schedule: dict[str, Any], call: Inpaint, canvas: Tensor) -> Tensor:
    """The last latents of the same pass with diffusers' own scheduler, as its pipelines use it."""
    scheduler = make_scheduler(call.sampling.scheduler, noise_schedule)
    scheduler.set_timesteps(call.sampling.steps)
    generator = torch.Generator().manual_seed(call.noise_seed)
    noise = torch.randn(canvas.shape, generator=generator)
    latents, timesteps = noise * scheduler.init_noise_sigma, scheduler.timesteps
    if call.strength < 1:
        first = min(len(timesteps) - 1, round(len(timesteps) * (1 - call.strength)))
        timesteps = timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        latents = scheduler.add_noise(canvas, noise, timesteps[:1])
    draws = {"generator": generator} if call.sampling.scheduler in ("euler_ancestral", "lcm") else {}
    for timestep in timesteps:
        prediction = predict(scheduler.scale_model_input(latents, timestep), timestep[None].float())
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **draws)[0]
    return latents


@pytest.mark.parametrize(
    ("prediction_type", "spacing"), [("epsilon", "leading"), ("v_prediction", "leading"), ("v_prediction", "trailing")]
)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_latents_equal_diffusers(backend: TorchBackend, scheduler: Scheduler, prediction_type: str, spacing: str):
    """Within 1e-5 of the largest latent: the same additions in another order, in float32."""
    preparation = prepared(backend, prediction_type=prediction_type, timestep_spacing=spacing)
    calls = [inpaint(scheduler, steps, strength) for steps in (2, 8, 25) for strength in (1.0, 0.6)]
    for call in calls:
        (state,) = preparation.begin([call])
        (latents,) = run(state)
        wanted = run_diffusers(preparation.text_to_image.noise_schedule, call, state.canvas[:1])
        assert float((latents - wanted).abs().max()) < 1e-5 * max(1.0, float(wanted.abs().max()))


def test_latents_do_not_depend_on_batch(backend: TorchBackend):
    """Eight solvers of unlike lengths and starts in one step, each as if it were alone, to float32's rounding."""
    calls = [
        inpaint(scheduler, steps=4 + index, strength=0.6 if index % 2 else 1.0, seed=index)
        for index, scheduler in enumerate(SCHEDULERS)
    ]
    preparation = prepared(backend)
    for call, together in zip(calls, run(*preparation.begin(calls)), strict=True):
        (alone,) = run(*preparation.begin([call]))
        assert float((together - alone).abs().max()) < 1e-5 * max(1.0, float(alone.abs().max()))


def test_seed_gives_same_picture_in_half_precision(backend: TorchBackend):
    """Solvers that add noise in each step draw it in float32, whatever the models' precision."""
    in_half = TorchBackend(open_bundle(DEMO), choose("cpu", "bfloat16"))
    for scheduler in ("euler_ancestral", "lcm"):
        call, other = inpaint(scheduler, steps=6), inpaint(scheduler, steps=6, seed=6)
        single, another = (run_passes(backend, one)[0].astype(int) for one in (call, other))
        half = run_passes(in_half, call)[0]
        assert np.abs(single - half).mean() < np.abs(single - another).mean() / 4
