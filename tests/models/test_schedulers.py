"""Every number of steps that a request may ask for is one that its solver takes."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from inpaint_server.domain.request import MAX_STEPS, Scheduler
from inpaint_server.models.schedulers import make_scheduler
from inpaint_server.models.solver import make_solver

STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_solver_takes_every_number_of_steps(name: Scheduler):
    scheduler = make_scheduler(name, STABLE_DIFFUSION)
    for steps in range(1, MAX_STEPS.get(name, 250) + 1):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) >= steps


@pytest.mark.parametrize("name", MAX_STEPS)
def test_solver_takes_no_more_than_its_bound(name: Scheduler):
    with pytest.raises(ValueError, match="smaller than `num_inference_steps`"):
        make_scheduler(name, STABLE_DIFFUSION).set_timesteps(MAX_STEPS[name] + 1)


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_schedule_of_pixel_model_is_neither_clipped_nor_thresholded(name: Scheduler):
    """What a bundle's schedule says of pixels, or of a solver's order, changes no step."""
    plain = make_solver(name, STABLE_DIFFUSION, steps=5)
    clipped = {"clip_sample": True, "thresholding": True, "sample_max_value": 0.5, "solver_order": 3}
    assert torch.equal(make_solver(name, {**STABLE_DIFFUSION, **clipped}, steps=5).updates, plain.updates)


@pytest.mark.parametrize("name", get_args(Scheduler))
@pytest.mark.parametrize("steps", [1, 2, 3, 15, 50])
def test_every_coefficient_is_finite(name: Scheduler, steps: int):
    for strength in (1.0, 0.6, 0.02):
        solver = make_solver(name, STABLE_DIFFUSION, steps, strength)
        assert solver.updates.isfinite().all()
        assert solver.noise_levels.isfinite().all()
