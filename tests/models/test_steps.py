"""What a step costs around the model: a few operations for the whole batch, and no value read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inpaint_server.domain.arrays import PaintMask, Pixels, frozen_array
from inpaint_server.domain.calls import DiffusionCall, Generate, Inpaint, PromptRegion
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.models import diffusion
from inpaint_server.models.bundle import DEMO, open_bundle
from inpaint_server.models.device import Device
from inpaint_server.models.diffusion import Diffusion
from inpaint_server.models.graphs import CapturedCalls
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.loading import load_checkpoint
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.preparation import PassPreparation
from testing.operations import Operations
from testing.passes import SCHEDULERS

MOST_KERNELS = 20
ACCELERATOR = Device(torch_device=torch.device("meta"), dtype=torch.float32)
MASK = PaintMask(frozen_array(np.full((64, 64), 255, np.uint8)))
CANVAS = Pixels(frozen_array(np.full((64, 64, 3), 90, np.uint8)))


def generate(seed: int, scheduler: Scheduler) -> Generate:
    how = Sampling(steps=4, guidance_scale=5.0, scheduler=scheduler)
    size = Size(height=64, width=64)
    return Generate(prompt="sand", negative_prompt="", size=size, sampling=how, noise_seed=seed)


def inpaint(seed: int, scheduler: Scheduler) -> Inpaint:
    how = Sampling(steps=4, guidance_scale=5.0, scheduler=scheduler)
    return Inpaint(canvas=CANVAS, mask=MASK, prompt="sand", negative_prompt="", sampling=how, noise_seed=seed)


def inpaint_canvas(seed: int, scheduler: Scheduler) -> Inpaint:
    return replace(inpaint(seed, scheduler), strength=0.6)


def inpaint_jointly(seed: int, scheduler: Scheduler) -> Inpaint:
    return replace(inpaint(seed, scheduler), regions=(PromptRegion(mask=MASK, prompt="sky"),))


def reuse_features(seed: int, scheduler: Scheduler) -> Inpaint:
    call = inpaint(seed, scheduler)
    return replace(call, sampling=replace(call.sampling, reuse_features=2, guidance_interval=(0.0, 0.5)))


def everything(seed: int, scheduler: Scheduler) -> Inpaint:
    """From a canvas, with regions, and with features that are reused."""
    joint = inpaint_jointly(seed, scheduler)
    return replace(joint, strength=0.6, sampling=replace(joint.sampling, reuse_features=2))


@pytest.fixture(scope="module")
def accelerated() -> Diffusion:
    """The loop on an accelerator's stand-in."""
    bundle, estimator = open_bundle(DEMO), MemoryEstimator(ACCELERATOR)
    checkpoints = [load_checkpoint(bundle, name, ACCELERATOR) for name in (TEXT_TO_IMAGE, INPAINTING)]
    preparation = PassPreparation(checkpoints[0], checkpoints[1], ACCELERATOR, estimator, cache_bytes=10**9)
    return Diffusion(preparation, ACCELERATOR, estimator, CapturedCalls(estimator, None))


def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the models out, so that what is around them is counted."""

    def full(_unet: Any, samples: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> tuple[Tensor, Tensor]:
        assert len(samples) == len(timesteps) == len(prompt_embeds)
        return samples[:, :4], samples[:, :4]

    def shallow(_unet: Any, samples: Tensor, timesteps: Tensor, deep: Tensor, prompt_embeds: Tensor) -> tuple[Tensor]:
        assert len(samples) == len(timesteps) == len(deep) == len(prompt_embeds)
        return (samples[:, :4],)

    monkeypatch.setattr(diffusion, "evaluate_and_cache", full)
    monkeypatch.setattr(diffusion, "evaluate_shallow", shallow)


def operations_of_each_step(loop: Diffusion, calls: Sequence[DiffusionCall]) -> list[Operations]:
    states = loop.begin(calls)
    counted: list[Operations] = []
    while left := [state for state in states if not state.done]:
        batch = [state for state in left if state.batch_key == left[0].batch_key]
        with Operations() as operations:
            loop.advance(batch)
        counted.append(operations)
    return counted


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("make", [generate, inpaint, inpaint_canvas, inpaint_jointly, reuse_features, everything])
def test_operations_of_step_do_not_grow_with_batch(
    accelerated: Diffusion, monkeypatch: pytest.MonkeyPatch, make: Any, scheduler: Scheduler
):
    """And none reads a value back: the stand-in has none."""
    without_model(monkeypatch)
    for passes in (1, 8):
        steps = operations_of_each_step(accelerated, [make(seed, scheduler) for seed in range(passes)])
        assert len(steps) > 1
        assert max(step.kernels for step in steps) <= MOST_KERNELS
        assert sum(step.copied_in for step in steps) == 0


def test_operations_of_step_of_unlike_passes(accelerated: Diffusion, monkeypatch: pytest.MonkeyPatch):
    """Eight solvers; from noise and from a canvas; with and without regions and features that are reused."""
    without_model(monkeypatch)
    makes = (inpaint, inpaint_canvas, inpaint_jointly, reuse_features, everything)
    calls = [makes[index % len(makes)](index, scheduler) for index, scheduler in enumerate(SCHEDULERS)]
    steps = operations_of_each_step(accelerated, calls)
    assert max(step.kernels for step in steps) <= MOST_KERNELS
    assert sum(step.copied_in for step in steps) == 0
