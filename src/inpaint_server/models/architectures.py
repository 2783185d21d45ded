"""A bundle's models without weights, on the meta device: from its configurations, or as they were published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from inpaint_server.models.bundle import Bundle
from inpaint_server.models.layout import INPAINTING, SEGMENTER, TEXT_TO_IMAGE
from inpaint_server.models.loading import vae_class
from inpaint_server.models.sam import PUBLISHED, SamConfig, build_sam

SD15_UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD15_VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 512,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Architectures:
    """The five models without weights, and which of them the two checkpoints share."""

    segmenter: Any
    text_encoder: Any
    vae: Any
    text_to_image: Any
    inpainting: Any
    shares_text_encoder: bool
    shares_vae: bool


def of_bundle(bundle: Bundle) -> Architectures:
    """The models of a bundle, from its configurations."""
    folder = bundle.folder
    unets = [_config(folder / name / "unet") for name in (TEXT_TO_IMAGE, INPAINTING)]
    vae_folder = folder / TEXT_TO_IMAGE / "vae"
    return _build(
        sam=SamConfig.from_json(folder / SEGMENTER / "config.json"),
        text=CLIPTextConfig.from_pretrained(folder / TEXT_TO_IMAGE / "text_encoder"),
        vae=(vae_class(vae_folder), _config(vae_folder)),
        unets=(unets[0], unets[1]),
        shares=(bundle.shares("text_encoder"), bundle.shares("vae")),
    )


def of_stable_diffusion_15(sam: str) -> Architectures:
    """Stable Diffusion 1.5, its inpainting checkpoint, and a published Segment Anything (`vit_b`, `vit_l`, `vit_h`)."""
    clip = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    return _build(
        sam=PUBLISHED[sam],
        text=clip,
        vae=(AutoencoderKL, SD15_VAE),
        unets=({**SD15_UNET, "in_channels": 4}, {**SD15_UNET, "in_channels": 9}),
        shares=(True, True),
    )


def _build(
    *,
    sam: SamConfig,
    text: CLIPTextConfig,
    vae: tuple[Any, dict[str, Any]],
    unets: tuple[dict[str, Any], dict[str, Any]],
    shares: tuple[bool, bool],
) -> Architectures:
    unet: Any = UNet2DConditionModel
    with torch.device("meta"):
        return Architectures(
            segmenter=build_sam(sam),
            text_encoder=CLIPTextModel(text).eval(),
            vae=vae[0].from_config(vae[1]).eval(),
            text_to_image=unet.from_config(unets[0]).eval(),
            inpainting=unet.from_config(unets[1]).eval(),
            shares_text_encoder=shares[0],
            shares_vae=shares[1],
        )


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())
