"""A second UNet for few steps: a LoRA fused into a copy of the first, or one that is there ready-made."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion import checkpoints
from inpaint_server.models.conversion.checkpoints import Model
from inpaint_server.models.conversion.weight_files import read_json
from inpaint_server.models.conversion.weight_folders import open_folder


def read_unet(folder: Path) -> Model:
    """A few-step UNet's folder, as diffusers saves it.

    Raises:
        BundleError: it cannot be opened, or takes the guidance scale as an input, which the server does not give.
    """
    config = read_json(folder / "config.json")
    if config.get("time_cond_proj_dim") is not None:
        raise BundleError(f"{folder} takes the guidance scale as an input: use a UNet that does not, or an LCM LoRA.")
    return checkpoints.unet(config, open_folder(folder)[0], folder)


def fuse_into_copy(folder: Path, lora: dict[str, Tensor], target: Path) -> None:
    """Save a UNet with a LoRA fused into it, in half precision.

    Args:
        folder: The UNet's, in a bundle.
        lora: As for `fuse_lora`.
        target: The folder to create.

    Raises:
        BundleError: the LoRA does not fit.
    """
    unet = UNet2DConditionModel.from_pretrained(
        folder, dtype=torch.float16, use_safetensors=True, local_files_only=True
    )
    fuse_lora(unet, lora)
    unet.save_pretrained(target, safe_serialization=True)


def fuse_lora(unet: UNet2DConditionModel, lora: dict[str, Tensor]) -> None:
    """Add a LoRA to a UNet's weights with diffusers' own loader, so that the server needs no LoRA code.

    Args:
        unet: Changed in place.
        lora: A LoRA of the UNet alone, in any layout that diffusers reads, as LCM LoRAs are published.

    Raises:
        BundleError: the LoRA was trained for another model, or has layers outside the UNet; or peft is not installed.
    """
    try:
        weights: dict[str, Tensor] = StableDiffusionPipeline.lora_state_dict(_without_alphas(lora))[0]
        if not weights or any(not key.startswith("unet.") for key in weights):
            raise BundleError("The LoRA has weights outside the UNet: use one of the UNet alone, as the LCM LoRAs are.")
        unet.load_lora_adapter(weights, prefix="unet")
    except (RuntimeError, ValueError, LookupError) as error:
        if "PEFT" in str(error):
            raise BundleError("A LoRA is fused by peft, which is not installed: pip install peft.") from None
        raise BundleError(f"The LoRA does not fit the UNet: it was trained for another model ({error}).") from error
    adapted = sum(hasattr(module, "lora_A") for module in unet.modules())
    if adapted != len(weights) // 2:
        raise BundleError(f"Only {adapted} of the LoRA's {len(weights) // 2} layers fit the UNet: use another LoRA.")
    unet.fuse_lora()
    unet.unload_lora()


def _without_alphas(lora: dict[str, Tensor]) -> dict[str, Tensor]:
    """The LoRA with each layer's alpha / rank (Hu et al., LoRA, 2021, section 4.1) multiplied into its weights.

    diffusers ignores an attention layer's alpha where the layers' alphas differ.
    """
    weights = {key: value for key, value in lora.items() if not key.endswith(".alpha")}
    for key in lora.keys() - weights.keys():
        name = key.removesuffix(".alpha")
        rank = len(weights[f"{name}.lora_down.weight"])
        weights[f"{name}.lora_up.weight"] = weights[f"{name}.lora_up.weight"] * (float(lora[key]) / rank)
    return weights
