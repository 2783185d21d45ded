"""The state of one diffusion pass between two steps; passes share model evaluations, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inpaint_server.domain.request import Sampling
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.schedulers import takes_generator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CanvasLatents:
    """The canvas that a pass of a strength below 1 starts from.

    Attributes:
        latents: 1 x 4 x h x w, the canvas without noise.
        noise: 1 x 4 x h x w, the pass's own.
        change_map: 1 x 1 x h x w, how much each cell may change, from 0 (not at all) to 1 (in every step).
    """

    latents: Tensor
    noise: Tensor
    change_map: Tensor

    def noised(self, scheduler: Any, timestep: Tensor) -> Tensor:
        """The canvas with the noise of a time step, 1 x 4 x h x w."""
        return scheduler.add_noise(self.latents, self.noise, timestep[None])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SolverStep:
    """The result of one step of the solver, of which the pass knows nothing until `take` is called.

    Attributes:
        scheduler: The solver after it.
        generator: The noise's generator after it.
        latents: 1 x 4 x h x w.
    """

    scheduler: Any
    generator: torch.Generator
    latents: Tensor


@dataclass(slots=True, kw_only=True, eq=False)
class DenoisingState:
    """A pass between two steps.

    Attributes:
        checkpoint: The model it runs on.
        sampling: Steps, guidance and scheduler.
        scheduler: The pass's own instance.
        latents: 1 x 4 x h x w, what is being denoised.
        mask_latents: 1 x 5 x h x w for inpainting (mask, then the masked picture's latents), else None.
        conditioning: Rows x tokens x channels: with guidance the negative prompt's embeddings, then the prompt's, then
            those of each region's prompt.
        region_weights: P x 1 x h x w, the weight of each of P prompts in each cell, which add up to 1; None for one
            prompt.
        generator: Of the pass's noise, on the CPU.
        first_step: Steps of the scheduler that are left out because the pass starts from the canvas.
        canvas: That canvas; None for a pass that starts from noise.
        step: Steps done.
        deep_features: Rows x C x h x w of the last full evaluation, where later steps reuse them; else None.
    """

    checkpoint: Checkpoint
    sampling: Sampling
    scheduler: Any
    latents: Tensor
    mask_latents: Tensor | None
    conditioning: Tensor
    region_weights: Tensor | None
    generator: torch.Generator
    first_step: int = 0
    canvas: CanvasLatents | None = None
    step: int = 0
    deep_features: Tensor | None = None

    @property
    def steps(self) -> int:
        """Steps that this pass takes."""
        return len(self.scheduler.timesteps) - self.first_step

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[int, torch.Size, int, bool]:
        """Passes with equal keys can share a model evaluation."""
        return id(self.checkpoint), self.latents.shape, self.conditioning.shape[1], self.reuses_features

    @property
    def timestep(self) -> Tensor:
        """The current time step, a scalar tensor."""
        return self.scheduler.timesteps[self.first_step + self.step]

    @property
    def guided(self) -> bool:
        """Whether the current step is guided (Kynkäänniemi et al., Guidance in a Limited Interval, 2024)."""
        start, end = self.sampling.guidance_interval
        return self.sampling.guidance_scale > 1 and start * self.steps <= self.step < end * self.steps

    @property
    def prompt_embeds(self) -> Tensor:
        """Rows x tokens x channels, the embeddings for each row of the current step's model evaluation."""
        prompts = 1 if self.region_weights is None else len(self.region_weights)
        return self.conditioning if self.guided else self.conditioning[-prompts:]

    @property
    def reuses_features(self) -> bool:
        """Whether the current step reuses the deep features of an earlier one."""
        due = self.step % self.sampling.reuse_features == 0
        return not due and self.deep_features is not None and len(self.deep_features) >= len(self.prompt_embeds)

    @property
    def caches_features(self) -> bool:
        """Whether later steps may reuse the current step's deep features."""
        return self.sampling.reuse_features > 1

    @property
    def model_input(self) -> Tensor:
        """1 x 4 or 9 x h x w, the UNet's input in the current step."""
        scaled = self.scheduler.scale_model_input(self.latents, self.timestep)
        return scaled if self.mask_latents is None else torch.cat([scaled, self.mask_latents], dim=1)

    def start_from(self, canvas: CanvasLatents, strength: float) -> None:
        """Start from a canvas with noise instead of from noise alone.

        Args:
            canvas: The canvas.
            strength: The fraction of the steps that is taken, (0, 1].
        """
        steps = len(self.scheduler.timesteps)
        self.canvas, self.first_step = canvas, min(steps - 1, round(steps * (1 - strength)))
        if hasattr(self.scheduler, "set_begin_index"):  # the others do not count their steps
            self.scheduler.set_begin_index(self.first_step)
        self.latents = canvas.noised(self.scheduler, self.timestep)

    def solve(self, prediction: Tensor) -> SolverStep:
        """Compute one step of the solver. The pass is left as it is, so that the step can be repeated.

        Args:
            prediction: The model's, one row for each row of `prompt_embeds`.
        """
        scheduler, generator, noise = _copied(self.scheduler), self.generator, {}
        if takes_generator(scheduler):
            generator = torch.Generator()
            generator.set_state(self.generator.get_state())
            noise = {"generator": generator}
        guided = self._guided(prediction)
        latents = scheduler.step(guided, self.timestep, self.latents, return_dict=False, **noise)[0]
        if self.canvas is not None:
            latents = self._with_canvas(self.canvas, scheduler, latents)
        return SolverStep(scheduler=scheduler, generator=generator, latents=latents)

    def take(self, step: SolverStep) -> None:
        """Go on from a step that was computed."""
        self.scheduler, self.generator, self.latents = step.scheduler, step.generator, step.latents
        self.step += 1

    def _with_canvas(self, canvas: CanvasLatents, scheduler: Any, latents: Tensor) -> Tensor:
        """The latents after the current step, with the canvas's own in the cells that may not change yet.

        Levin and Fried, Differential Diffusion, 2023, algorithm 1: the less a cell may change, the later it is freed.
        """
        step = self.step + 1
        if step >= self.steps:
            unchanged = canvas.latents
        else:
            unchanged = canvas.noised(scheduler, scheduler.timesteps[self.first_step + step])
        return torch.where(canvas.change_map > 1 - step / self.steps, latents, unchanged)

    def _guided(self, prediction: Tensor) -> Tensor:
        """Classifier-free guidance (Ho and Salimans, 2022, eq. 6, in the form e_u + s (e_c - e_u)).

        With several prompts e_c is the average of their predictions, weighted in each cell (after Bar-Tal et al.,
        MultiDiffusion, 2023, eq. 5, with one window for all).
        """
        prompted = prediction[1:] if self.guided else prediction
        conditional = (
            prompted if self.region_weights is None else (self.region_weights * prompted).sum(dim=0, keepdim=True)
        )
        if not self.guided:
            return conditional
        return prediction[:1] + self.sampling.guidance_scale * (conditional - prediction[:1])


def _copied(scheduler: Any) -> Any:
    """A scheduler with a history of its own; the tensors, which it replaces and never changes, are shared."""
    copied = copy.copy(scheduler)
    for name, value in vars(scheduler).items():
        if isinstance(value, list):
            setattr(copied, name, list(value))
    return copied
