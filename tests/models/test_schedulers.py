"""Every number of steps that a request may ask for is one that its solver takes."""

from __future__ import annotations

from typing import get_args

import pytest

from inpaint_server.domain.request import MAX_STEPS, Scheduler
from inpaint_server.models.schedulers import make_scheduler

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
