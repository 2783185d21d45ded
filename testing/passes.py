"""Diffusion passes on the models themselves, from first step to pixels, and small calls to try them with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

import numpy as np

from inpaint_server.domain.arrays import PaintMask, Pixels, frozen_array
from inpaint_server.domain.calls import DiffusionCall, Generate, Inpaint
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.denoising import DenoisingState

SIZE: Final = Size(height=64, width=96)
SCHEDULERS: Final[tuple[Scheduler, ...]] = get_args(Scheduler)


def sampling(scheduler: Scheduler = "ddim", guidance_scale: float = 4.0, steps: int = 4) -> Sampling:
    """A few guided steps."""
    return Sampling(steps=steps, guidance_scale=guidance_scale, scheduler=scheduler)


def generate(seed: int = 1, how: Sampling | None = None) -> Generate:
    """A table on a small canvas."""
    return Generate(
        prompt="a wooden table", negative_prompt="grass", size=SIZE, sampling=how or sampling(), noise_seed=seed
    )


def inpaint(seed: int = 2, how: Sampling | None = None) -> Inpaint:
    """Sand in most of a canvas of noise, without a negative prompt."""
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


def difference(one: Any, other: Any) -> int:
    """The largest difference of two pictures in any pixel and channel."""
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


def run_passes(backend: TorchBackend, *calls: DiffusionCall) -> list[Pixels]:
    """Run passes together as the engine does: those with equal batch keys in one evaluation, until all are done."""
    states = backend.begin(calls)
    while left := [one for one in states if not one.done]:
        first = min(left, key=lambda one: one.step)
        backend.advance([one for one in left if one.batch_key == first.batch_key])
    return decoded(backend, states)


def decoded(backend: TorchBackend, states: Sequence[DenoisingState]) -> list[Pixels]:
    """The pictures of passes that are done."""
    return [picture.pixels() for picture in backend.finish(states)]
