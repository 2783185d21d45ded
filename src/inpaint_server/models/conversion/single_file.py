"""A Stable Diffusion 1.x or XL checkpoint in one file, in the names of the code it was published with.

diffusers has the mapping of names; the configurations, which such a file lacks, come from `published_names.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor
from transformers import CLIPTokenizer

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion import checkpoints, families
from inpaint_server.models.conversion.checkpoints import DiffusionCheckpoint, TextEncoder
from inpaint_server.models.conversion.published_names import (
    OPEN_CLIP,
    UNET,
    VAE,
    open_clip_config_of,
    text_config_of,
    unet_config_of,
    vae_config_of,
)
from inpaint_server.models.conversion.weight_files import open_weights

_MERGES: Final = Path(__file__).with_name("clip_merges.txt")
_NOISE_SCHEDULE: Final[dict[str, Any]] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
_OTHER_NOISE: Final = ("v_pred", "edm_mean", "edm_vpred.sigma_max")
"""Names by which the common front ends know a checkpoint of XL's layout that was trained with other noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """What a family's file has, and what it does not say.

    Attributes:
        clip: What the names of CLIP's text encoder begin with.
        open_clip: What those of the second text encoder begin with; None where the family has no second.
        vae: What of the autoencoder's configuration is not a size.
        noise_schedule: The scheduler's configuration.
        native_size: Side of the square picture that it was trained for.
    """

    clip: str
    open_clip: str | None = None
    vae: dict[str, Any]
    noise_schedule: dict[str, Any]
    native_size: int


_LAYOUTS: Final = {
    families.STABLE_DIFFUSION_1: _Layout(
        clip="cond_stage_model.transformer.",
        vae={"scaling_factor": 0.18215},
        noise_schedule={
            **_NOISE_SCHEDULE,
            "_class_name": "PNDMScheduler",
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
        },
        native_size=512,
    ),
    families.SDXL: _Layout(
        clip="conditioner.embedders.0.transformer.",
        open_clip=OPEN_CLIP,
        vae={"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
        noise_schedule={
            **_NOISE_SCHEDULE,
            "_class_name": "EulerDiscreteScheduler",
            "timestep_spacing": "leading",
        },
        native_size=1024,
    ),
}


def read_file(path: Path) -> DiffusionCheckpoint:
    """Open a single-file checkpoint (`.safetensors` or `.ckpt`).

    Weights averaged over training that stand beside the others (`model_ema.`) are not used, as in the front ends.

    Raises:
        BundleError: it is no such file, of another family, lacks one of its models, or does not say how it predicts.
    """
    weights = open_weights(path)
    family = families.require_served(families.family_of(weights), path)
    if family not in _LAYOUTS or not weights.keys().isdisjoint(_OTHER_NOISE):
        raise BundleError(
            f"{path} holds {family} and does not say how it predicts: "
            "give the same model's folder as diffusers saves it."
        )
    layout = _LAYOUTS[family]
    text = [(prefix, "text encoder") for prefix in (layout.clip, layout.open_clip) if prefix is not None]
    for prefix, what in ((UNET, "UNet"), (VAE, "autoencoder (VAE)"), *text):
        if not any(name.startswith(prefix) for name in weights):
            raise BundleError(f"{path} has no {what}: use the full version of the checkpoint.")
    try:
        return _checkpoint(path, weights, family, layout)
    except (LookupError, ValueError, TypeError) as error:  # a layer that sizes are read from, or that is renamed
        raise BundleError(f"{path} lacks layers of {family} ({error}): download it again.") from None


@functools.cache
def clip_tokenizer(padding: str = "<|endoftext|>") -> CLIPTokenizer:
    """The tokenizer of CLIP, from its list of merges; OpenCLIP's differs in what it fills prompts up with.

    Its vocabulary follows from them (Radford et al., CLIP, 2021; `simple_tokenizer.py` of its code): the 256 bytes,
    the same at a word's end, each merge, and the two special tokens.
    """
    merges: list[Any] = [tuple(line.split()) for line in _MERGES.read_text(encoding="utf-8").splitlines()[1:]]
    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=padding)


def _checkpoint(path: Path, weights: Mapping[str, Tensor], family: str, layout: _Layout) -> DiffusionCheckpoint:
    unet_config, vae_config = unet_config_of(weights), {**vae_config_of(weights), **layout.vae}
    unet = convert_ldm_unet_checkpoint(_with(weights, UNET), unet_config)
    vae = convert_ldm_vae_checkpoint(_with(weights, VAE), vae_config)
    encoders = [_clip(path, _with(weights, layout.clip))]
    if layout.open_clip is not None:
        encoders.append(_open_clip(path, _with(weights, layout.open_clip), layout.open_clip))
    return DiffusionCheckpoint(
        family=family,
        unet=checkpoints.unet(unet_config, unet, f"The UNet of {path}"),
        vae=checkpoints.autoencoder(vae_config, vae, f"The VAE of {path}"),
        text_encoders=tuple(encoders),
        noise_schedule=layout.noise_schedule,
        files=(path,),
        native_size=layout.native_size,
    )


def _clip(path: Path, weights: Mapping[str, Tensor]) -> TextEncoder:
    text = convert_ldm_clip_checkpoint(weights)
    model = checkpoints.text_encoder(text_config_of(text), text, f"The text encoder of {path}")
    return TextEncoder(model=model, tokenizer=clip_tokenizer())


def _open_clip(path: Path, weights: Mapping[str, Tensor], prefix: str) -> TextEncoder:
    text = convert_open_clip_checkpoint(None, weights, prefix)  # the model would tell what the projection's size does
    where = f"The second text encoder of {path}"
    model = checkpoints.text_encoder(open_clip_config_of(text), text, where, projected=True)
    return TextEncoder(model=model, tokenizer=clip_tokenizer(padding="!"))


def _with(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name.startswith(prefix)}


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in the order of CLIP's vocabulary: the printable ones, then the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]
