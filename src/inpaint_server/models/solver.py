"""Every solver's step as one small matrix, read off diffusers' own schedulers.

A step of these solvers is linear, cell by cell, in the latents, what the solver remembers of earlier steps, the model's
prediction and fresh noise. So a scheduler's `step`, called with unit vectors, tells its coefficients: they are
diffusers' own, for every noise schedule, prediction type and spacing that it knows. This happens once for a solver,
on the CPU; a pass then takes each step, whatever its solver, by multiplying with that step's matrix.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from inpaint_server.domain.request import Scheduler
from inpaint_server.models.schedulers import make_scheduler

MEMORIES: Final = 3
"""The most tensors of earlier steps that a solver here needs for its next one."""

_PROBES: Final = 10
"""Cells of a unit vector: latents, prediction, up to seven tensors that a scheduler keeps, and one where all are 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solver:
    """The n steps of one solver, in float64 on the CPU.

    Attributes:
        timesteps: n, what the model gets.
        input_scales: n, by what the latents are multiplied before the model sees them.
        noise_levels: n x 2, the latents of a time step: so much of a picture, and so much noise.
        updates: n x 4 x 6, from (latents, three memories, prediction, noise) before a step to (latents, three memories)
            after it. Where a row of it is 0, the memory is not needed.
        start: What the latents before the first step are: so much of a canvas, and so much noise.
    """

    timesteps: Tensor
    input_scales: Tensor
    noise_levels: Tensor
    updates: Tensor
    start: tuple[float, float]

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.timesteps)

    @property
    def draws_noise(self) -> Tensor:
        """In which of the n steps the solver adds fresh noise."""
        return self.updates[:, 0, -1] != 0


def make_solver(name: Scheduler, noise_schedule: dict[str, Any], steps: int, strength: float = 1.0) -> Solver:
    """The steps of a solver; the latest few hundred solvers are kept.

    Args:
        name: The wire's name.
        noise_schedule: The bundle's `scheduler_config.json`.
        steps: How many a whole pass has.
        strength: The fraction of them that is taken, (0, 1]: the first ones are left out. At 1 the pass starts from
            noise alone, below from a canvas under noise.
    """
    return _make_solver(name, json.dumps(noise_schedule, sort_keys=True), steps, strength)


@lru_cache(maxsize=256)
def _make_solver(name: Scheduler, noise_schedule: str, steps: int, strength: float) -> Solver:
    scheduler = make_scheduler(name, json.loads(noise_schedule))
    scheduler.set_timesteps(steps)
    evaluations = len(scheduler.timesteps)
    first = min(evaluations - 1, round(evaluations * (1 - strength)))
    if hasattr(scheduler, "set_begin_index"):  # the others do not count their steps
        scheduler.set_begin_index(first)
    return _probe(scheduler, scheduler.timesteps[first:], from_canvas=strength < 1)


def _probe(scheduler: Any, timesteps: Tensor, *, from_canvas: bool) -> Solver:
    """Take a scheduler's steps with unit vectors for latents, prediction, and everything that it keeps."""
    units = torch.eye(_PROBES, dtype=torch.float64)[:, None, None, None]
    latents, prediction = units[:2]
    scales: list[Tensor] = []
    levels: list[Tensor] = []
    after: list[list[Tensor]] = []
    for timestep in timesteps:
        levels.append(scheduler.add_noise(units[0], units[1], timestep[None]).flatten()[:2])
        scales.append(scheduler.scale_model_input(latents, timestep).flatten()[0])
        for (owner, key), unit in zip(_kept_tensors(scheduler, latents.shape), units[2:-1], strict=False):
            owner[key] = unit
        solved = _step(scheduler, prediction, timestep, latents)
        kept = (owner[key] for owner, key in _kept_tensors(scheduler, latents.shape))
        after.append([solved, *(tensor.flatten() for tensor in kept)])
    return Solver(
        timesteps=timesteps.double(),
        input_scales=torch.stack(scales),
        noise_levels=torch.stack(levels),
        updates=_updates(after),
        start=(float(levels[0][0]), float(levels[0][1])) if from_canvas else (0.0, float(scheduler.init_noise_sigma)),
    )


def _kept_tensors(scheduler: Any, shape: torch.Size) -> list[tuple[Any, Any]]:
    """Where a scheduler keeps tensors of earlier steps: pairs of an owner and a key, `owner[key]` is the tensor."""
    attributes = vars(scheduler)
    lists = [value for value in attributes.values() if isinstance(value, list)]
    places = [
        *((attributes, name) for name in attributes),
        *((one, index) for one in lists for index in range(len(one))),
    ]
    return [(owner, key) for owner, key in places if isinstance(owner[key], Tensor) and owner[key].shape == shape]


def _step(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
    """The coefficients of a step: of every unit vector, and last that of the noise.

    The scheduler draws its noise itself. What it added is seen in the last cell, where everything else is 0.
    """
    if "generator" not in inspect.signature(scheduler.step).parameters:
        return scheduler.step(prediction, timestep, latents, return_dict=False)[0].flatten()
    generator, again = (torch.Generator().manual_seed(0) for _ in range(2))
    solved = scheduler.step(prediction, timestep, latents, generator=generator, return_dict=False)[0].flatten()
    noise = torch.randn(latents.shape, generator=again, dtype=latents.dtype).flatten()
    of_noise = solved[-1] / noise[-1]
    return torch.cat([(solved - of_noise * noise)[:-1], of_noise[None]])


def _updates(after: Sequence[Sequence[Tensor]]) -> Tensor:
    """The steps' matrices, with those memories only that a later step needs.

    Args:
        after: For each step the coefficients of the latents and of each tensor kept after it.
    """
    updates: list[Tensor] = []
    needed: list[int] = []
    for before, (latents, *kept) in zip([(), *after[:-1]][::-1], after[::-1], strict=True):
        rows = torch.stack([latents, *(kept[index] for index in needed)])
        needed = [index for index in range(len(before) - 1) if rows[:, 2 + index].any()]
        update = rows.new_zeros(1 + MEMORIES, MEMORIES + 3)
        columns = [0, *(2 + index for index in needed)]
        update[: len(rows), : len(columns)] = rows[:, columns]
        update[: len(rows), -2:] = rows[:, [1, -1]]
        updates.append(update)
    return torch.stack(updates[::-1])
