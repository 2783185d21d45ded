"""How well a picture shows its words, by the model that paints: no other model has to be loaded for it.

A diffusion model predicts the noise in a noised picture better when it is told what the picture shows (Li et al., Your
Diffusion Model Is Secretly a Zero-Shot Classifier, 2023, eq. 5 to 7, which compares prompts under the same noise; here
each prompt is compared with no words at all). The same noise is used for every picture, so that pictures can be
compared; one figure on its own says little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inpaint_server.domain.calls import Score
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.schedulers import make_scheduler

_LEVELS: Final = (0.35, 0.5, 0.65, 0.8)
"""How far the noising has gone where the prediction is looked at, fractions of the training's time steps: with less
noise the picture speaks for itself, with more there is nothing left of it."""

_NOISE_SEED: Final = 0

Evaluate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Noised latents, time steps and words, a row each, to the model's predictions."""


def agreement(ask: Score, checkpoint: Checkpoint, latents: Tensor, evaluate: Evaluate, words: Tensor) -> float:
    """By how much its words make the prediction of the noise better, averaged over regions and noise levels.

    Args:
        ask: The picture and its regions.
        checkpoint: Stable Diffusion.
        latents: 1 x 4 x h x w, the picture's.
        evaluate: Calls the model.
        words: Embeddings of no words, then of each region's; one row each.

    Returns:
        1 - (squared error with the words) / (squared error without), at most 1; 0 where no region has a pixel.
    """
    scheduler: Any = make_scheduler("ddim", checkpoint.noise_schedule)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(_NOISE_SEED)).to(latents)
    steps = scheduler.config.num_train_timesteps
    masks = _cells(ask, latents)
    gains: list[Tensor] = []
    for level in _LEVELS:
        timestep = torch.tensor([round(level * steps)], device=latents.device)
        noised = scheduler.add_noise(latents, noise, timestep)
        rows = (noised.expand(len(words), -1, -1, -1), timestep.float().expand(len(words)), words)
        error = (evaluate(*rows) - _target(scheduler, latents, noise, timestep)).float().square().mean(dim=1)
        inside = (masks * error[1:]).sum(dim=(1, 2)), (masks * error[:1]).sum(dim=(1, 2))
        gains += [1 - told / blind for told, blind in zip(*inside, strict=True) if blind > 0]
    return float(torch.stack(gains).mean()) if gains else 0.0


def _target(scheduler: Any, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """What a model of this prediction type should say."""
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timestep)
    return latents if scheduler.config.prediction_type == "sample" else noise


def _cells(ask: Score, latents: Tensor) -> Tensor:
    """R x h x w: the share of each region in each cell of the latents."""
    masks = np.stack([region.mask >= 128 for region in ask.regions]).astype(np.float32)
    height, width = latents.shape[-2:]
    return functional.adaptive_avg_pool2d(torch.from_numpy(masks), (height, width)).to(latents.device)
