"""A Stable Diffusion 1.x checkpoint in one file, in the names of the code it was published with (CompVis, LDM).

diffusers has the mapping of names; the configuration, which such a file lacks, is that of Stable Diffusion 1.5 with
every size read from the weights' shapes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor
from transformers import CLIPTokenizer

from inpaint_server.errors import BundleError
from inpaint_server.models.architectures import SD15_UNET, SD15_VAE
from inpaint_server.models.conversion import checkpoints, families
from inpaint_server.models.conversion.checkpoints import DiffusionCheckpoint, TextEncoder
from inpaint_server.models.conversion.weight_files import open_weights

_UNET: Final = "model.diffusion_model."
_VAE: Final = "first_stage_model."
_TEXT: Final = "cond_stage_model.transformer."
_NATIVE_SIZE: Final = 512
_CLIP_HEAD_WIDTH: Final = 64
_MERGES: Final = Path(__file__).with_name("clip_merges.txt")
_NOISE_SCHEDULE: Final[dict[str, Any]] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def read_file(path: Path) -> DiffusionCheckpoint:
    """Open a single-file checkpoint (`.safetensors` or `.ckpt`).

    Weights averaged over training that stand beside the others (`model_ema.`) are not used, as in the front ends.

    Raises:
        BundleError: it is no such file, of another family, or lacks one of the three models.
    """
    weights = open_weights(path)
    family = families.require_served(families.family_of(weights), path)
    if family != families.STABLE_DIFFUSION_1:
        raise BundleError(f"{path} holds {family} in one file: give the same model's folder as diffusers saves it.")
    for prefix, what in ((_UNET, "UNet"), (_VAE, "autoencoder (VAE)"), (_TEXT, "text encoder")):
        if not any(name.startswith(prefix) for name in weights):
            raise BundleError(f"{path} has no {what}: use the full version of the checkpoint.")
    try:
        return _checkpoint(path, weights)
    except (LookupError, ValueError, TypeError) as error:  # a layer that sizes are read from, or that is renamed
        raise BundleError(f"{path} lacks layers of Stable Diffusion 1.x ({error}): download it again.") from None


@functools.cache
def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of CLIP, which every Stable Diffusion 1.x uses, from its list of merges.

    Its vocabulary follows from them (Radford et al., CLIP, 2021; `simple_tokenizer.py` of its code): the 256 bytes,
    the same at a word's end, each merge, and the two special tokens.
    """
    merges: list[Any] = [tuple(line.split()) for line in _MERGES.read_text(encoding="utf-8").splitlines()[1:]]
    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _checkpoint(path: Path, weights: Mapping[str, Tensor]) -> DiffusionCheckpoint:
    unet_config, vae_config = unet_config_of(weights), vae_config_of(weights)
    text = convert_ldm_clip_checkpoint(_with(weights, _TEXT))
    encoder = checkpoints.text_encoder(text_config_of(text), text, f"The text encoder of {path}")
    return DiffusionCheckpoint(
        family=families.STABLE_DIFFUSION_1,
        unet=checkpoints.unet(
            unet_config, convert_ldm_unet_checkpoint(_with(weights, _UNET), unet_config), f"The UNet of {path}"
        ),
        vae=checkpoints.autoencoder(
            vae_config, convert_ldm_vae_checkpoint(_with(weights, _VAE), vae_config), f"The VAE of {path}"
        ),
        text_encoders=(TextEncoder(model=encoder, tokenizer=clip_tokenizer()),),
        noise_schedule=_NOISE_SCHEDULE,
        files=(path,),
        native_size=_NATIVE_SIZE,
    )


def unet_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Stable Diffusion 1.5's configuration with the sizes of a UNet in the published names."""
    blocks = _UNET + "input_blocks"
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
    attention = next(name for name in weights if name.startswith(blocks) and name.endswith("attn2.to_k.weight"))
    return {
        "_class_name": "UNet2DConditionModel",
        **SD15_UNET,
        "in_channels": weights[f"{blocks}.0.0.weight"].shape[1],
        "out_channels": weights[f"{_UNET}out.2.weight"].shape[0],
        "layers_per_block": len(levels[0]),
        "block_out_channels": [weights[f"{blocks}.{level[0]}.0.in_layers.2.weight"].shape[0] for level in levels],
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": weights[attention].shape[1],
    }


def vae_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Stable Diffusion 1.5's configuration with the sizes of an autoencoder in the published names."""
    encoder = _VAE + "encoder"
    levels = _count(weights, encoder + ".down.{}.block.0.conv1.weight")
    return {
        "_class_name": "AutoencoderKL",
        **SD15_VAE,
        "latent_channels": weights[f"{_VAE}decoder.conv_in.weight"].shape[1],
        "block_out_channels": [weights[f"{encoder}.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": _count(weights, encoder + ".down.0.block.{}.conv1.weight"),
        "scaling_factor": 0.18215,
    }


def text_config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """CLIP ViT-L's configuration with the sizes of a text encoder in transformers' names."""
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
        "num_attention_heads": max(1, width // _CLIP_HEAD_WIDTH),
        "max_position_embeddings": own["embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
    }


def _with(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name.startswith(prefix)}


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    """How many numbers from 0 on make a weight's name."""
    number = 0
    while name.format(number) in weights:
        number += 1
    return number


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in the order of CLIP's vocabulary: the printable ones, then the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]
