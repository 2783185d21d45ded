"""A UNet's deep features, cached in one step and reused in the next ones, which evaluate only the shallow layers.

Ma et al., DeepCache: Accelerating Diffusion Models for Free, 2023, section 3.2, with the skip of the first layer: the
deep features change little from step to step. Evaluated in every step are the input convolution, the first layer of
the down path and the last two of the up path, which take the first two's outputs as skips; the cached features stand
for everything in between.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakSet

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from inpaint_server.models.prompts import Conditioning

_kept = threading.local()
"""`input`: what entered the layer that the calling thread's evaluation came to last."""

_kept_of: WeakSet[nn.Module] = WeakSet()


def evaluate_and_cache(
    unet: UNet2DConditionModel, samples: Tensor, timesteps: Tensor, *conditioning: Tensor
) -> tuple[Tensor, Tensor]:
    """The full evaluation, and its deep features.

    Args:
        unet: The model.
        samples: N x 4 or 9 x h x w.
        timesteps: N.
        conditioning: The tensors of `Conditioning`, N rows each.

    Returns:
        The prediction, N x 4 x h x w, bit for bit the model's own; and the deep features that enter the last two
        layers, N x C x h x w.
    """
    _keep_input(_layers(unet.up_blocks[-1])[-2][0])
    given = Conditioning(*conditioning)
    prediction = unet(samples, timesteps, given.prompt_embeds, added_cond_kwargs=given.added, return_dict=False)[0]
    # The layer's input is the deep features, then the first layer's skip.
    deep = _kept.input[:, : deep_channels(unet)]
    del _kept.input
    return prediction, deep


def evaluate_shallow(
    unet: UNet2DConditionModel, samples: Tensor, timesteps: Tensor, deep_features: Tensor, *conditioning: Tensor
) -> tuple[Tensor]:
    """The evaluation with cached deep features; with those of the same step it equals the full evaluation."""
    given = Conditioning(*conditioning)
    prompt_embeds = given.prompt_embeds
    time_embeds = unet.time_embedding(unet.get_time_embed(sample=samples, timestep=timesteps))
    if given.added is not None:
        time_embeds = time_embeds + unet.get_aug_embed(time_embeds, prompt_embeds, given.added)
    first, *_ = _layers(unet.down_blocks[0])
    *_, last_but_one, last = _layers(unet.up_blocks[-1])
    outer_skip = unet.conv_in(samples)
    inner_skip = _apply(first, outer_skip, time_embeds, prompt_embeds)
    hidden = _apply(last_but_one, torch.cat([deep_features, inner_skip], dim=1), time_embeds, prompt_embeds)
    hidden = _apply(last, torch.cat([hidden, outer_skip], dim=1), time_embeds, prompt_embeds)
    head: Any = unet  # its type allows a UNet without normalisation; Stable Diffusion's has one
    return (head.conv_out(head.conv_act(head.conv_norm_out(hidden))),)


def deep_channels(unet: UNet2DConditionModel) -> int:
    """The deep features' channels."""
    return _layers(unet.up_blocks[-1])[-2][0].in_channels - unet.config["block_out_channels"][0]


def _keep_input(layer: nn.Module) -> None:
    """Have a layer's input kept for the thread that calls it: several evaluate one model at once."""
    if layer not in _kept_of:
        _kept_of.add(layer)
        layer.register_forward_pre_hook(_keep)


def _keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    _kept.input = inputs[0]


def _layers(block: Any) -> list[tuple[Any, Any]]:
    """A block's layers: a residual block each, and its cross-attention if the block has any."""
    attentions = block.attentions if hasattr(block, "attentions") else [None] * len(block.resnets)
    return list(zip(block.resnets, attentions, strict=True))


def _apply(layer: tuple[Any, Any], hidden: Tensor, time_embeds: Tensor, prompt_embeds: Tensor) -> Tensor:
    residual, attention = layer
    hidden = residual(hidden, time_embeds)
    return hidden if attention is None else attention(hidden, encoder_hidden_states=prompt_embeds, return_dict=False)[0]
