"""The schedulers by their wire names, made from a bundle's noise schedule."""

from __future__ import annotations

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

from inpaint_server.domain.request import MAX_STEPS, Scheduler

# A bundle's schedule may ask for clipped or thresholded predictions, which suits models of pixels, not of latents, and
# for another order of a solver than its name says.
_UNCLIPPED: dict[str, Any] = {"thresholding": False, "clip_sample": False}
_SECOND_ORDER: dict[str, Any] = {"thresholding": False, "solver_order": 2}

_SCHEDULERS: dict[Scheduler, tuple[Any, dict[str, Any]]] = {
    # Lu et al., DPM-Solver++, 2022 (2M), with the noise levels of Karras et al., 2022, eq. 5.
    "dpmpp_2m_karras": (
        DPMSolverMultistepScheduler,
        {**_SECOND_ORDER, "algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {**_SECOND_ORDER, "algorithm_type": "dpmsolver++"}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {**_UNCLIPPED, "set_alpha_to_one": False}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True, "set_alpha_to_one": False}),
    "lcm": (LCMScheduler, {**_UNCLIPPED, "original_inference_steps": MAX_STEPS["lcm"]}),
    "unipc": (UniPCMultistepScheduler, _SECOND_ORDER),
}


def make_scheduler(name: Scheduler, noise_schedule: dict[str, Any]) -> Any:
    """A new scheduler.

    Args:
        name: The wire's name.
        noise_schedule: The bundle's `scheduler_config.json` (betas, prediction type, steps offset).
    """
    kind, options = _SCHEDULERS[name]
    return kind.from_config(noise_schedule, **options)
