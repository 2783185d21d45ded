"""How well a picture shows its prompts, scored by the diffusion model itself, so that no other model is loaded.

A diffusion model predicts the noise in a noised picture better when it is conditioned on what the picture shows (Li et
al., Your Diffusion Model Is Secretly a Zero-Shot Classifier, 2023, eq. 5 to 7, which compares prompts under the same
noise; here each prompt is compared with the empty prompt). Every picture gets the same noise, so that scores can be
compared with each other; one score on its own means little.
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
"""Noise levels at which predictions are compared, fractions of the training time steps: with less noise the prompt
matters little, with more nothing is left of the picture."""

_NOISE_SEED: Final = 0

Predict = Callable[[Tensor, Tensor], Tensor]
"""From noised latents and time steps, a row each for the empty prompt and each region's, to the model's predictions."""


def prompt_agreement(call: Score, checkpoint: Checkpoint, latents: Tensor, predict: Predict) -> float:
    """By how much the prompts improve the prediction of the noise, averaged over regions and noise levels.

    Args:
        call: The picture and its regions.
        checkpoint: Stable Diffusion.
        latents: 1 x 4 x h x w, the picture's.
        predict: Calls the model.

    Returns:
        1 - (squared error with the prompt) / (squared error without), at most 1; 0 where no region has a pixel.
    """
    scheduler: Any = make_scheduler("ddim", checkpoint.noise_schedule)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(_NOISE_SEED)).to(latents)
    steps = scheduler.config.num_train_timesteps
    masks = _region_weights(call, latents)
    gains: list[Tensor] = []
    for level in _LEVELS:
        timestep = torch.tensor([round(level * steps)], device=latents.device)
        noised = scheduler.add_noise(latents, noise, timestep)
        count = 1 + len(call.regions)
        predicted = predict(noised.expand(count, -1, -1, -1), timestep.float().expand(count))
        error = (predicted - _target(scheduler, latents, noise, timestep)).float().square().mean(dim=1)
        errors = (masks * error[1:]).sum(dim=(1, 2)), (masks * error[:1]).sum(dim=(1, 2))
        gains += [1 - prompted / empty for prompted, empty in zip(*errors, strict=True) if empty > 0]
    return float(torch.stack(gains).mean()) if gains else 0.0


def _target(scheduler: Any, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """What a perfect model of this prediction type predicts."""
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timestep)
    return latents if scheduler.config.prediction_type == "sample" else noise


def _region_weights(call: Score, latents: Tensor) -> Tensor:
    """R x h x w: the fraction of each latent cell that each region covers."""
    masks = np.stack([region.mask >= 128 for region in call.regions]).astype(np.float32)
    height, width = latents.shape[-2:]
    return functional.adaptive_avg_pool2d(torch.from_numpy(masks), (height, width)).to(latents.device)
