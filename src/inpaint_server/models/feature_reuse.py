"""A UNet's deep features, kept from one step and used in the next ones: only the outermost layers are evaluated anew.

Ma et al., DeepCache: Accelerating Diffusion Models for Free, 2023, section 3.2, with the skip of the first layer: what
the innermost layers say changes little from step to step. Anew are the input convolution, the first layer on the way
down and the last two on the way up, which see what those two made; in between stands what was kept.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn


def evaluate_and_keep(
    unet: UNet2DConditionModel, samples: Tensor, timesteps: Tensor, words: Tensor
) -> tuple[Tensor, Tensor]:
    """The plain evaluation, and its deep features.

    Args:
        unet: The model.
        samples: N x 4 or 9 x h x w.
        timesteps: N.
        words: N x tokens x channels.

    Returns:
        The prediction, N x 4 x h x w, bit for bit the model's own; and what entered the last two layers from inside,
        N x C x h x w.
    """
    skipped: int = unet.config["block_out_channels"][0]
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Its input is what comes from inside, then what the first layer made.
        kept.append(inputs[0][:, :-skipped])

    with _layers(unet.up_blocks[-1])[-2][0].register_forward_pre_hook(keep):
        prediction = unet(samples, timesteps, encoder_hidden_states=words, return_dict=False)[0]
    return prediction, kept[0]


def evaluate_outermost(
    unet: UNet2DConditionModel, samples: Tensor, timesteps: Tensor, words: Tensor, deep: Tensor
) -> Tensor:
    """The evaluation with the deep features of an earlier step; with those of the same step the plain one's answer."""
    embedded = unet.time_embedding(unet.get_time_embed(sample=samples, timestep=timesteps))
    first, *_ = _layers(unet.down_blocks[0])
    *_, last_but_one, last = _layers(unet.up_blocks[-1])
    outer = unet.conv_in(samples)
    inner = _through(first, outer, embedded, words)
    hidden = _through(last_but_one, torch.cat([deep, inner], dim=1), embedded, words)
    hidden = _through(last, torch.cat([hidden, outer], dim=1), embedded, words)
    head: Any = unet  # by its type it might have no normalisation; Stable Diffusion's has
    return head.conv_out(head.conv_act(head.conv_norm_out(hidden)))


def _layers(block: Any) -> list[tuple[Any, Any]]:
    """A block's layers: a residual block each, and its attention to the words if the block has any."""
    attentions = block.attentions if hasattr(block, "attentions") else [None] * len(block.resnets)
    return list(zip(block.resnets, attentions, strict=True))


def _through(layer: tuple[Any, Any], hidden: Tensor, embedded: Tensor, words: Tensor) -> Tensor:
    residual, attention = layer
    hidden = residual(hidden, embedded)
    return hidden if attention is None else attention(hidden, encoder_hidden_states=words, return_dict=False)[0]
