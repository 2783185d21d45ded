"""Which model a set of weights belongs to, by the names and shapes of its tensors; nothing of them is read.

A new family that is served gets its sign here and a reader beside `single_file.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from inpaint_server.errors import BundleError

STABLE_DIFFUSION_1: Final = "Stable Diffusion 1.x"
STABLE_DIFFUSION_2: Final = "Stable Diffusion 2.x"
SDXL: Final = "Stable Diffusion XL"
SEGMENT_ANYTHING: Final = "Segment Anything"
_SERVED: Final = (
    "this server takes Stable Diffusion 1.x (such as 1.5) and Stable Diffusion Inpainting of the same family"
)

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
    ("conditioner.embedders.0.model.", f"{SDXL} (refiner)"),
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
_FAMILY_OF_TEXT_WIDTH: Final = {1024: STABLE_DIFFUSION_2, 1280: f"{SDXL} (refiner)", 2048: SDXL}
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
            return _family_of_unet(weights) if family == STABLE_DIFFUSION_1 else family
    return None


def family_of_pipeline(class_name: str) -> str:
    """The family of a diffusers pipeline by its class; the class itself if it is none that is known."""
    return next((family for sign, family in _FAMILY_OF_PIPELINE.items() if class_name.startswith(sign)), class_name)


def family_of_text_width(width: int) -> str:
    """The family of a UNet by the width of the text embeddings that it takes, 1.x for a width that no other has."""
    return _FAMILY_OF_TEXT_WIDTH.get(width, STABLE_DIFFUSION_1)


def require_served(family: str | None, where: object) -> None:
    """Refuse a diffusion model of a family that is not served.

    Raises:
        BundleError: it is of another family, or something else than a diffusion model.
    """
    if family is None:
        raise BundleError(f"{where} holds weights of an unknown kind: {_SERVED}.")
    if family != STABLE_DIFFUSION_1:
        raise BundleError(f"{where} holds {family}: {_SERVED}.")


def _family_of_unet(weights: Mapping[str, Tensor]) -> str:
    widths = [weight.shape[1] for name, weight in weights.items() if name.endswith(_CROSS_ATTENTION)]
    return family_of_text_width(widths[0]) if widths else STABLE_DIFFUSION_1
