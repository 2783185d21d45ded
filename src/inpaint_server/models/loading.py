"""Weights from a bundle's folder onto the device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from inpaint_server.errors import BundleError
from inpaint_server.models.bundle import Bundle
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.device import Device
from inpaint_server.models.layout import FEW_STEP_UNET, TEXT_ENCODERS, TEXT_TO_IMAGE, TOKENIZERS
from inpaint_server.models.prompts import PromptEncoder, TextEncoder

_CONVOLUTION_DIMENSIONS: Final = 4


def load(kind: Any, folder: Path, device: Device) -> Any:
    """One model in evaluation mode on the device, convolutions in the channels-last format (which is faster).

    Every weight is copied: on the CPU it would be a view of the mapped file, and one such view keeps the whole map in
    memory.
    """
    model = kind.from_pretrained(folder, dtype=device.dtype, use_safetensors=True, local_files_only=True)
    model = model.to(device.torch_device).requires_grad_(False).eval()
    for weight in (*model.parameters(), *model.buffers()):
        convolves = weight.dim() == _CONVOLUTION_DIMENSIONS
        weight.data = weight.data.clone(memory_format=torch.channels_last if convolves else torch.contiguous_format)
    return model


def load_checkpoint(bundle: Bundle, name: str, device: Device, sharing_with: Checkpoint | None = None) -> Checkpoint:
    """Load one checkpoint of a bundle.

    Args:
        bundle: The bundle.
        name: The checkpoint's folder in it.
        device: Where it runs.
        sharing_with: The other checkpoint: its VAE and text encoders are used where their weights are the same.
    """
    folder = bundle.folder / name
    other_vae = sharing_with.vae if sharing_with is not None and bundle.shares("vae") else None
    other_prompts = sharing_with.prompts if sharing_with is not None and shares_prompts(bundle) else None
    checkpoint = Checkpoint(
        unet=load(UNet2DConditionModel, folder / "unet", device),
        vae=other_vae or _load_vae(folder, device),
        prompts=other_prompts or _load_prompts(folder, device),
        noise_schedule=json.loads((folder / "scheduler" / "scheduler_config.json").read_text()),
    )
    if not bundle.has_few_step_weights:
        return checkpoint
    few_step = replace(checkpoint, unet=load(UNet2DConditionModel, folder / FEW_STEP_UNET, device))
    return replace(checkpoint, few_step=few_step)


def shares_prompts(bundle: Bundle) -> bool:
    """Whether both checkpoints have the same text encoders."""
    return all(map(bundle.shares, TEXT_ENCODERS))


def _load_vae(folder: Path, device: Device) -> Any:
    """The autoencoder, in float32 where half precision would overflow."""
    overflows = device.dtype == torch.float16 and upcasts_vae(folder)
    precise = replace(device, dtype=torch.float32) if overflows else device
    return load(vae_class(folder / "vae"), folder / "vae", precise)


def upcasts_vae(folder: Path) -> bool:
    """Whether a checkpoint's autoencoder overflows in half precision, as SDXL's does, by its configuration."""
    return is_sdxl(folder) and json.loads((folder / "vae" / "config.json").read_text()).get("force_upcast", True)


def _load_prompts(folder: Path, device: Device) -> PromptEncoder:
    """The text encoders: one, or SDXL's two."""
    kinds = (CLIPTextModel, CLIPTextModelWithProjection) if is_sdxl(folder) else (CLIPTextModel,)
    encoders = [
        TextEncoder(
            model=load(kind, folder / name, device),
            tokenizer=CLIPTokenizer.from_pretrained(folder / tokenizer, local_files_only=True),
        )
        for kind, name, tokenizer in zip(kinds, TEXT_ENCODERS, TOKENIZERS, strict=False)
    ]
    return PromptEncoder(encoders, zeros_for_empty=is_sdxl(folder))


def is_sdxl(folder: Path) -> bool:
    """Whether a checkpoint is of SDXL's family, by its UNet's configuration.

    Raises:
        BundleError: it is of a family that is not served.
    """
    added = json.loads((folder / "unet" / "config.json").read_text()).get("addition_embed_type")
    if added not in {None, "text_time"}:
        raise BundleError(f"{folder} is conditioned on '{added}': use Stable Diffusion 1, 2 or XL.")
    return added is not None


def load_unet(bundle: Bundle, device: Device) -> UNet2DConditionModel:
    """The text-to-image checkpoint's UNet alone."""
    return load(UNet2DConditionModel, bundle.folder / TEXT_TO_IMAGE / "unet", device)


def vae_class(folder: Path) -> type[AutoencoderKL | AutoencoderTiny]:
    """The autoencoder's class by its configuration: Stable Diffusion's own, or its small replacement."""
    name = json.loads((folder / "config.json").read_text()).get("_class_name")
    kinds = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
    if name not in kinds:
        raise BundleError(f"{folder} holds a {name}: use {' or '.join(kinds)}.")
    return kinds[name]


def silence_libraries() -> None:
    """Keep the libraries' progress bars and warnings out of the log; their errors are still logged."""
    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
