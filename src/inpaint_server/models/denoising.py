"""One pass under way: everything that is its own while it shares model evaluations with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inpaint_server.domain.request import Sampling
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.schedulers import takes_generator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """What a pass starts from where it does not start from noise alone.

    Attributes:
        latents: 1 x 4 x h x w, the canvas as it was.
        noise: 1 x 4 x h x w, the pass's own.
        change: 1 x 1 x h x w, how much of each cell may change, 0 (nothing) to 1 (all the time).
    """

    latents: Tensor
    noise: Tensor
    change: Tensor

    def at(self, scheduler: Any, timestep: Tensor) -> Tensor:
        """The canvas under as much noise as there is at a time step."""
        return scheduler.add_noise(self.latents, self.noise, timestep[None])


@dataclass(slots=True, kw_only=True, eq=False)
class DenoisingState:
    """A pass between two steps.

    Attributes:
        checkpoint: The model it runs on.
        sampling: How it samples.
        scheduler: Its own solver.
        latents: 1 x 4 x h x w, what is being denoised.
        context: 1 x 5 x h x w for inpainting (mask, then the masked picture's latents), else None.
        conditioning: Rows x tokens x channels: with guidance the negative prompt's embedding, then the prompt's, then
            those of the regions with words of their own.
        shares: P x 1 x h x w, how much each of P prompts counts in each cell; they add up to 1. None: one prompt.
        generator: The pass's own noise, on the CPU.
        first: Steps of the solver that are left out, since the pass starts from the canvas under noise.
        origin: That canvas; None where it starts from noise alone.
        step: Steps done.
        deep: Rows x C x h x w, the deep features of the last full evaluation, where they are used again.
    """

    checkpoint: Checkpoint
    sampling: Sampling
    scheduler: Any
    latents: Tensor
    context: Tensor | None
    conditioning: Tensor
    shares: Tensor | None
    generator: torch.Generator
    first: int = 0
    origin: Origin | None = None
    step: int = 0
    deep: Tensor | None = None

    @property
    def steps(self) -> int:
        """Steps this pass takes."""
        return len(self.scheduler.timesteps) - self.first

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[int, torch.Size, bool]:
        """Passes with equal keys can share a model evaluation."""
        return id(self.checkpoint), self.latents.shape, self.reuses

    @property
    def timestep(self) -> Tensor:
        """The current time step, a scalar tensor."""
        return self.scheduler.timesteps[self.first + self.step]

    @property
    def guided(self) -> bool:
        """Whether the current step is guided (Kynkäänniemi et al., Guidance in a Limited Interval, 2024)."""
        start, end = self.sampling.guidance_interval
        return self.sampling.guidance_scale > 1 and start * self.steps <= self.step < end * self.steps

    @property
    def words(self) -> Tensor:
        """What the current step is conditioned on, one row for each row of the model evaluation."""
        prompts = 1 if self.shares is None else len(self.shares)
        return self.conditioning if self.guided else self.conditioning[-prompts:]

    @property
    def reuses(self) -> bool:
        """Whether the current step takes the deep features of an earlier one."""
        due = self.step % self.sampling.reuse_features == 0
        return not due and self.deep is not None and len(self.deep) >= len(self.words)

    @property
    def keeps(self) -> bool:
        """Whether the deep features of the current step are used again."""
        return self.sampling.reuse_features > 1

    @property
    def model_input(self) -> Tensor:
        """1 x 4 or 9 x h x w, what the model sees in the current step."""
        scaled = self.scheduler.scale_model_input(self.latents, self.timestep)
        return scaled if self.context is None else torch.cat([scaled, self.context], dim=1)

    def start_from(self, origin: Origin, strength: float) -> None:
        """Start from a canvas under noise instead of from noise alone.

        Args:
            origin: The canvas.
            strength: The part of the steps that is made, (0, 1].
        """
        whole = len(self.scheduler.timesteps)
        self.origin, self.first = origin, min(whole - 1, round(whole * (1 - strength)))
        if hasattr(self.scheduler, "set_begin_index"):  # the others keep no count of their steps
            self.scheduler.set_begin_index(self.first)
        self.latents = origin.at(self.scheduler, self.timestep)

    def advance(self, prediction: Tensor) -> None:
        """One step of the solver.

        Args:
            prediction: What the model said, one row for each row of `words`.
        """
        noise = {"generator": self.generator} if takes_generator(self.scheduler) else {}
        guided = self._guided(prediction)
        self.latents = self.scheduler.step(guided, self.timestep, self.latents, return_dict=False, **noise)[0]
        self.step += 1
        if self.origin is not None:
            self.latents = self._with_origin(self.origin)

    def _with_origin(self, origin: Origin) -> Tensor:
        """The latents, and the canvas as it was where it may not change yet.

        Levin and Fried, Differential Diffusion, 2023, algorithm 1: the less a cell may change, the later it is let go.
        """
        as_it_was = origin.latents if self.done else origin.at(self.scheduler, self.timestep)
        return torch.where(origin.change > 1 - self.step / self.steps, self.latents, as_it_was)

    def _guided(self, prediction: Tensor) -> Tensor:
        """Classifier-free guidance (Ho and Salimans, 2022, eq. 6, in the form e_u + s (e_c - e_u)).

        With several prompts e_c is their regional blend: in each cell what its prompt says (after Bar-Tal et al.,
        MultiDiffusion, 2023, eq. 5, with one window for all).
        """
        prompted = prediction[1:] if self.guided else prediction
        conditional = prompted if self.shares is None else (self.shares * prompted).sum(dim=0, keepdim=True)
        if not self.guided:
            return conditional
        return prediction[:1] + self.sampling.guidance_scale * (conditional - prediction[:1])
