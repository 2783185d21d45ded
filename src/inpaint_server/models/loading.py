"""Weights from a bundle's folder onto the device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from inpaint_server.errors import BundleError
from inpaint_server.models.bundle import Bundle
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.device import Device
from inpaint_server.models.layout import FEW_STEP_UNET, TEXT_TO_IMAGE

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
        sharing_with: The other checkpoint: its VAE and text encoder are used where their weights are the same.
    """
    folder = bundle.folder / name
    if sharing_with is not None and bundle.shares("vae"):
        vae = sharing_with.vae
    else:
        vae = load(vae_class(folder / "vae"), folder / "vae", device)
    if sharing_with is not None and bundle.shares("text_encoder"):
        text_encoder = sharing_with.text_encoder
    else:
        text_encoder = load(CLIPTextModel, folder / "text_encoder", device)
    checkpoint = Checkpoint(
        unet=load(UNet2DConditionModel, folder / "unet", device),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        noise_schedule=json.loads((folder / "scheduler" / "scheduler_config.json").read_text()),
    )
    if not bundle.has_few_step_weights:
        return checkpoint
    few_step = replace(checkpoint, unet=load(UNet2DConditionModel, folder / FEW_STEP_UNET, device))
    return replace(checkpoint, few_step=few_step)


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
