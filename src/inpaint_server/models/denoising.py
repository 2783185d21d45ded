"""One pass under way: everything that is its own while it shares model evaluations with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.schedulers import takes_generator
from inpaint_server.types import Sampling


@dataclass(slots=True, kw_only=True, eq=False)
class Denoising:
    """A pass between two steps.

    Attributes:
        checkpoint: The model it runs on.
        sampling: How it samples.
        scheduler: Its own solver.
        latents: 1 x 4 x h x w, what is being denoised.
        context: 1 x 5 x h x w for inpainting (mask, then the masked picture's latents), else None.
        conditioning: 1 or 2 x tokens x channels; with guidance the negative prompt's embedding comes first.
        generator: The pass's own noise, on the CPU.
        step: Steps done.
    """

    checkpoint: Checkpoint
    sampling: Sampling
    scheduler: Any
    latents: Tensor
    context: Tensor | None
    conditioning: Tensor
    generator: torch.Generator
    step: int = 0

    @property
    def steps(self) -> int:
        """Steps this pass takes."""
        return len(self.scheduler.timesteps)

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[int, torch.Size]:
        """Passes with equal keys can share a model evaluation."""
        return id(self.checkpoint), self.latents.shape

    @property
    def timestep(self) -> Tensor:
        """The current time step, a scalar tensor."""
        return self.scheduler.timesteps[self.step]

    @property
    def rows(self) -> int:
        """Rows of a model evaluation that the current step takes."""
        return len(self.conditioning)

    @property
    def model_input(self) -> Tensor:
        """1 x 4 or 9 x h x w, what the model sees in the current step."""
        scaled = self.scheduler.scale_model_input(self.latents, self.timestep)
        return scaled if self.context is None else torch.cat([scaled, self.context], dim=1)

    def advance(self, prediction: Tensor) -> None:
        """One step of the solver.

        Args:
            prediction: What the model said, one row for each of `rows`.
        """
        noise = {"generator": self.generator} if takes_generator(self.scheduler) else {}
        guided = self._guided(prediction)
        self.latents = self.scheduler.step(guided, self.timestep, self.latents, return_dict=False, **noise)[0]
        self.step += 1

    def _guided(self, prediction: Tensor) -> Tensor:
        """Classifier-free guidance (Ho and Salimans, 2022, eq. 6, in the form e_u + s (e_c - e_u))."""
        if len(prediction) == 1:
            return prediction
        unconditional, conditional = prediction.chunk(2)
        return unconditional + self.sampling.guidance_scale * (conditional - unconditional)
