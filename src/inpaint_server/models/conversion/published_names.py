"""The configurations of models in the names of the code they were published with (CompVis, Stability AI, LDM).

A checkpoint in one file has none. Every size is read from the weights' shapes; the rest is the published one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from inpaint_server.models.architectures import SD15_UNET, SD15_VAE, SDXL_UNET
from inpaint_server.models.compatibility import CANVAS_NUMBERS

UNET: Final = "model.diffusion_model."
VAE: Final = "first_stage_model."
OPEN_CLIP: Final = "conditioner.embedders.1.model."
"""Before the names of Stable Diffusion XL's second text encoder."""
_ADDED: Final = f"{UNET}label_emb.0.0.weight"
"""What takes the pooled embedding and the canvas's size."""
_HEAD_WIDTH: Final = 64
"""Of an attention's heads in CLIP, OpenCLIP and Stable Diffusion XL."""


def unet_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of a UNet in the published names: of Stable Diffusion XL where it has what only that has.

    Raises:
        LookupError: it lacks a layer that a size is read from.
    """
    blocks = UNET + "input_blocks"
    levels: list[list[int]] = [[]]
    number = 1
    while (kernel := weights.get(f"{blocks}.{number}.0.in_layers.2.weight")) is not None or (
        f"{blocks}.{number}.0.op.weight" in weights
    ):
        if kernel is None:
            levels.append([])
        else:
            levels[-1].append(number)
        number += 1
    attends = [f"{blocks}.{level[0]}.1.proj_in.weight" in weights for level in levels]
    down = ["CrossAttnDownBlock2D" if attending else "DownBlock2D" for attending in attends]
    up = ["CrossAttnUpBlock2D" if attending else "UpBlock2D" for attending in reversed(attends)]
    keys = "attn2.to_k.weight"
    attention = next((name for name in weights if name.startswith(blocks) and name.endswith(keys)), keys)
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        **SD15_UNET,
        "in_channels": weights[f"{blocks}.0.0.weight"].shape[1],
        "out_channels": weights[f"{UNET}out.2.weight"].shape[0],
        "layers_per_block": len(levels[0]),
        "block_out_channels": [weights[f"{blocks}.{level[0]}.0.in_layers.2.weight"].shape[0] for level in levels],
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": weights[attention].shape[1],
    }
    if _ADDED not in weights:
        return config
    depths = [_count(weights, f"{blocks}.{level[0]}.1.transformer_blocks.{{}}.norm1.weight") for level in levels]
    added, pooled = weights[_ADDED].shape[1], weights[f"{OPEN_CLIP}text_projection"].shape[1]
    return {
        **config,
        "sample_size": SDXL_UNET["sample_size"],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "attention_head_dim": [max(1, width // _HEAD_WIDTH) for width in config["block_out_channels"]],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (added - pooled) // CANVAS_NUMBERS,
        "projection_class_embeddings_input_dim": added,
    }


def vae_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Stable Diffusion 1.5's configuration with the sizes of an autoencoder in the published names.

    Raises:
        LookupError: it lacks a layer that a size is read from.
    """
    encoder = VAE + "encoder"
    levels = _count(weights, encoder + ".down.{}.block.0.conv1.weight")
    return {
        "_class_name": "AutoencoderKL",
        **SD15_VAE,
        "latent_channels": weights[f"{VAE}decoder.conv_in.weight"].shape[1],
        "block_out_channels": [weights[f"{encoder}.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": _count(weights, encoder + ".down.0.block.{}.conv1.weight"),
    }


def text_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """CLIP ViT-L's configuration with the sizes of a text encoder in transformers' names.

    Raises:
        LookupError: it lacks a layer that a size is read from.
    """
    own = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    words, width = own["embeddings.token_embedding.weight"].shape
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": words,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": own["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _count(own, "encoder.layers.{}.mlp.fc1.weight"),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": own["embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
    }


def open_clip_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """OpenCLIP's configuration with the sizes of a text encoder with its projection, in transformers' names.

    Raises:
        LookupError: it lacks a layer that a size is read from.
    """
    return {
        **text_config_of(weights),
        "architectures": ["CLIPTextModelWithProjection"],
        "projection_dim": weights["text_projection.weight"].shape[0],
        "hidden_act": "gelu",
    }


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    """How many numbers from 0 on make a weight's name."""
    number = 0
    while name.format(number) in weights:
        number += 1
    return number
