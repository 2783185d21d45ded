"""The solvers by their wire names, each made fresh for one pass from the bundle's own noise schedule."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from inpaint_server.domain.request import Scheduler

_SOLVERS: dict[Scheduler, tuple[Any, dict[str, Any]]] = {
    # Lu et al., DPM-Solver++, 2022 (2M), with the noise levels of Karras et al., 2022, eq. 5.
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True, "set_alpha_to_one": False}),
    "lcm": (LCMScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}


def make_scheduler(name: Scheduler, noise_schedule: dict[str, Any]) -> Any:
    """A scheduler of its own for one pass: solvers keep the history of what they have seen.

    Args:
        name: The wire's name.
        noise_schedule: The bundle's `scheduler_config.json` (betas, prediction type, steps offset).
    """
    solver, options = _SOLVERS[name]
    return solver.from_config(noise_schedule, **options)


def takes_generator(scheduler: Any) -> bool:
    """Whether the solver draws noise of its own in `step`."""
    return _step_takes_generator(type(scheduler))


@cache
def _step_takes_generator(solver: Any) -> bool:
    return "generator" in inspect.signature(solver.step).parameters
