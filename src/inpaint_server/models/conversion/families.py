"""Which model a set of weights belongs to, by the names and shapes of its tensors; nothing of them is read.

A new family that is served gets its sign here, and a reader beside `single_file.py` where it comes in one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from inpaint_server.errors import BundleError

STABLE_DIFFUSION_1: Final = "Stable Diffusion 1.x"
STABLE_DIFFUSION_2: Final = "Stable Diffusion 2.x"
SDXL: Final = "Stable Diffusion XL"
BUNDLE_NAMES: Final = {
    STABLE_DIFFUSION_1: "stable-diffusion-1.5",
    STABLE_DIFFUSION_2: "stable-diffusion-2",
    SDXL: "stable-diffusion-xl",
}
"""What bundles of the families that are served are called unless they are given another name."""
LICENCES: Final = {
    STABLE_DIFFUSION_1: "CreativeML Open RAIL-M (Stable Diffusion)",
    STABLE_DIFFUSION_2: "CreativeML Open RAIL++-M (Stable Diffusion 2)",
    SDXL: "CreativeML Open RAIL++-M (Stable Diffusion XL)",
}
"""Under which their first weights were published; those of others may have another."""
SEGMENT_ANYTHING: Final = "Segment Anything"
_REFINER: Final = f"{SDXL} (refiner)"
_TAKES: Final = "this server takes Stable Diffusion 1.x, 2.x and XL, for text to image and for inpainting"

# The first sign that some tensor's name contains decides: parts and additions before whole models, which they resemble.
_SIGNS: Final = (
    (".lora_", "a LoRA"),
    ("lora_unet_", "a LoRA"),
    ("controlnet_cond_embedding", "a ControlNet"),
    ("control_model.", "a ControlNet"),
    ("string_to_param", "a textual inversion"),
    ("emb_params", "a textual inversion"),
    ("motion_modules.", "a motion module"),
    ("conditioner.embedders.1.", SDXL),
    ("conditioner.embedders.0.model.", _REFINER),
    ("joint_blocks.", "Stable Diffusion 3"),
    ("double_blocks.", "Flux"),
    ("single_transformer_blocks.", "Flux"),
    ("cond_stage_model.model.", STABLE_DIFFUSION_2),
    ("model.diffusion_model.input_blocks.", STABLE_DIFFUSION_1),
    ("mask_decoder.", SEGMENT_ANYTHING),
    ("memory_attention.", f"{SEGMENT_ANYTHING} 2"),
    ("down_blocks.0.resnets.0.time_emb_proj.", "a UNet alone"),
    ("input_blocks.0.0.weight", "a UNet alone"),
    ("encoder.down", "an autoencoder (VAE) alone"),
    ("token_embedding.weight", "a text encoder alone"),
)
_CROSS_ATTENTION: Final = "attn2.to_k.weight"
_FAMILY_OF_TEXT_WIDTH: Final = {1024: STABLE_DIFFUSION_2, 1280: _REFINER, 2048: SDXL}
_FAMILY_OF_PIPELINE: Final = {
    "StableDiffusionXL": SDXL,
    "StableDiffusion3": "Stable Diffusion 3",
    "StableDiffusionUpscale": "the Stable Diffusion upscaler",
    "StableDiffusionControlNet": "a ControlNet",
    "Flux": "Flux",
    "Kandinsky": "Kandinsky",
    "PixArt": "PixArt",
    "LatentConsistencyModel": STABLE_DIFFUSION_1,
    "StableDiffusion": STABLE_DIFFUSION_1,
}


def family_of(weights: Mapping[str, Tensor]) -> str | None:
    """The family of a file's weights, or what else they are; None if nothing is known about them."""
    for sign, family in _SIGNS:
        if any(sign in name for name in weights):
            return _by_text_width(weights) if family == STABLE_DIFFUSION_1 else family
    return None


def family_of_pipeline(class_name: str) -> str:
    """The family of a diffusers pipeline by its class; the class itself if it is none that is known."""
    return next((family for sign, family in _FAMILY_OF_PIPELINE.items() if class_name.startswith(sign)), class_name)


def family_of_unet(config: Mapping[str, Any]) -> str | None:
    """The family of a UNet by its configuration; None if it is conditioned in another way than those that are served.

    SDXL's gets more than the prompt's tokens, and its refiner reads those of the second text encoder alone. Of the
    others, 2.x has linear layers before and after its attention, and 1.x convolutions.
    """
    added, width = config.get("addition_embed_type"), config.get("cross_attention_dim")
    if added not in {None, "text_time"} or not isinstance(width, int):
        return None
    if added is not None:
        return _REFINER if _FAMILY_OF_TEXT_WIDTH.get(width) == _REFINER else SDXL
    return STABLE_DIFFUSION_2 if config.get("use_linear_projection") else STABLE_DIFFUSION_1


def require_served(family: str | None, where: object) -> str:
    """The family of a diffusion model, if it is served.

    Raises:
        BundleError: it is of another family, or something else than a diffusion model.
    """
    if family is None:
        raise BundleError(f"{where} holds weights of an unknown kind: {_TAKES}.")
    if family not in BUNDLE_NAMES:
        raise BundleError(f"{where} holds {family}: {_TAKES}.")
    return family


def _by_text_width(weights: Mapping[str, Tensor]) -> str:
    """The family by the width of the text embeddings that a UNet takes, 1.x for a width that no other has."""
    widths = [weight.shape[1] for name, weight in weights.items() if name.endswith(_CROSS_ATTENTION)]
    return _FAMILY_OF_TEXT_WIDTH.get(widths[0], STABLE_DIFFUSION_1) if widths else STABLE_DIFFUSION_1
