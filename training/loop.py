"""The training loop that all models share: rate schedule, running average, checkpoints, progress, loss curve.

Everything random in a step comes from generators seeded with the plan's seed and the step's number, so a run that was
interrupted goes on exactly as if it had not been.
"""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from training.curves import draw_curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps in all.
        rate: Learning rate after the warm-up; it falls to a hundredth along half a cosine.
        warm_up: Steps over which the rate rises from zero.
        batch: Pictures a step.
        seed: Start of every random number.
        save_every: Steps between checkpoints.
    """

    steps: int
    rate: float
    warm_up: int
    batch: int
    seed: int
    save_every: int = 500

    def rate_at(self, step: int) -> float:
        """Learning rate of one step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warm_up)
        fall = 0.5 * (1 + np.cos(np.pi * min(1.0, step / self.steps)))
        return float(self.rate * rise * (0.99 * fall + 0.01))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """The random numbers of one step."""

    numpy: np.random.Generator
    torch: torch.Generator

    @classmethod
    def of(cls, seed: int, step: int) -> Self:
        """Two independent generators for a step."""
        generator = torch.Generator().manual_seed((seed << 32) + step)
        return cls(numpy=np.random.default_rng([seed, step]), torch=generator)


def half_precision() -> torch.autocast:
    """Autocast to bfloat16 where the CPU has instructions for it; elsewhere emulation makes it many times slower."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Fixes the global generator that libraries draw initial weights from, and puts it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's names for its two running means
StepLoss: TypeAlias = Callable[[int, Chance], Mapping[str, torch.Tensor]]


class Training:
    """One model's training, which can be stopped after any checkpoint and taken up again."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], plan: Plan, folder: Path) -> None:
        """Prepares the optimiser, or takes up the checkpoint that lies in the folder.

        Args:
            parameters: What is trained, by name; changed in place.
            plan: How long and how fast.
            folder: Holds checkpoint and loss curve.
        """
        self._parameters = parameters
        self._average = {name: value.detach().clone() for name, value in parameters.items()}
        self._plan = plan
        self._folder = folder
        self._optimiser = torch.optim.AdamW(parameters.values(), lr=plan.rate, weight_decay=1e-3, betas=(0.9, 0.99))
        self._losses: list[dict[str, float]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if self._checkpoint.exists():
            self._resume()

    @property
    def step(self) -> int:
        """Steps done so far."""
        return len(self._losses)

    @property
    def _checkpoint(self) -> Path:
        return self._folder / "checkpoint.safetensors"

    def run(self, loss_of: StepLoss) -> None:
        """Trains to the plan's end and leaves the averaged weights in the parameters.

        Args:
            loss_of: Called with the step's number and its random numbers; answers named losses, whose entry
                `loss` is minimised and whose others are only recorded.
        """
        with tqdm(total=self._plan.steps, initial=self.step, desc=self._folder.name, mininterval=10) as progress:
            while self.step < self._plan.steps:
                self._losses.append(self._advance(loss_of))
                progress.update()
                progress.set_postfix(
                    loss=f"{np.mean([entry['loss'] for entry in self._losses[-100:]]):.4f}", refresh=False
                )
                if self.step % self._plan.save_every == 0 or self.step == self._plan.steps:
                    self._save()
        self.use_average()

    def use_average(self) -> None:
        """Puts the running average into the parameters."""
        for name, value in self._parameters.items():
            value.data.copy_(self._average[name])

    def _advance(self, loss_of: StepLoss) -> dict[str, float]:
        step = self.step
        for group in self._optimiser.param_groups:
            group["lr"] = self._plan.rate_at(step)
        losses = loss_of(step, Chance.of(self._plan.seed, step))
        self._optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
        self._optimiser.step()
        keep = min(0.998, (step + 1) / (step + 20))
        for name, value in self._parameters.items():
            self._average[name].lerp_(value.detach(), 1 - keep)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _save(self) -> None:
        tensors = {f"average/{name}": value for name, value in self._average.items()}
        for name, value in self._parameters.items():
            tensors[f"weight/{name}"] = value.detach()
            for moment in MOMENTS if value in self._optimiser.state else ():  # no gradient yet, no state
                tensors[f"{moment}/{name}"] = self._optimiser.state[value][moment]
        draft = self._checkpoint.with_suffix(".draft")
        contiguous = {name: value.contiguous() for name, value in tensors.items()}
        save_file(contiguous, draft, metadata={"losses": json.dumps(self._losses)})
        draft.replace(self._checkpoint)
        draw_curves(self._losses, self._folder / "curve.png")

    def _resume(self) -> None:
        with safe_open(self._checkpoint, framework="pt") as stored:
            self._losses = json.loads(stored.metadata()["losses"])
            names = set(stored.keys())
            for name, value in self._parameters.items():
                value.data.copy_(stored.get_tensor(f"weight/{name}"))
                self._average[name].copy_(stored.get_tensor(f"average/{name}"))
                if f"exp_avg/{name}" in names:
                    moments = {moment: stored.get_tensor(f"{moment}/{name}") for moment in MOMENTS}
                    self._optimiser.state[value] = {"step": torch.tensor(float(self.step)), **moments}
