"""A bundle's models without weights, on the meta device: from its configurations, or as they were published."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from inpaint_server.models.bundle import Bundle
from inpaint_server.models.layout import INPAINTING, SEGMENTER, TEXT_ENCODERS, TEXT_TO_IMAGE
from inpaint_server.models.loading import is_sdxl, shares_prompts, upcasts_vae, vae_class
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

SDXL_UNET: Final[dict[str, Any]] = {
    "sample_size": 128,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_CLIP: Final[dict[str, Any]] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_OPEN_CLIP: Final[dict[str, Any]] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckpointArchitecture:
    """One checkpoint's models without weights. What two checkpoints share is the same object in both.

    Attributes:
        unet: The UNet.
        vae: The autoencoder.
        text_encoders: One, or SDXL's two.
        upcasts_vae: Whether the autoencoder stays in float32 where the other models are in float16.
    """

    unet: Any
    vae: Any
    text_encoders: nn.ModuleList
    upcasts_vae: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Architectures:
    """All models without weights; both checkpoints are the same object where one does both jobs."""

    segmenter: Any
    text_to_image: CheckpointArchitecture
    inpainting: CheckpointArchitecture


def of_bundle(bundle: Bundle) -> Architectures:
    """The models of a bundle, from its configurations."""
    folder = bundle.folder
    with torch.device("meta"):
        segmenter = build_sam(SamConfig.from_json(folder / SEGMENTER / "config.json"))
        text_to_image = inpainting = _of_folder(folder / TEXT_TO_IMAGE)
        if bundle.has_inpainting:
            inpainting = _of_folder(folder / INPAINTING)
            inpainting = replace(
                inpainting,
                vae=text_to_image.vae if bundle.shares("vae") else inpainting.vae,
                text_encoders=text_to_image.text_encoders if shares_prompts(bundle) else inpainting.text_encoders,
            )
    return Architectures(segmenter=segmenter, text_to_image=text_to_image, inpainting=inpainting)


def of_stable_diffusion_15(sam: str) -> Architectures:
    """Stable Diffusion 1.5, its inpainting checkpoint, and a published Segment Anything (`vit_b`, `vit_l`, `vit_h`)."""
    return _published(sam, SD15_UNET, (CLIPTextModel, _CLIP))


def of_stable_diffusion_xl(sam: str) -> Architectures:
    """Stable Diffusion XL, its inpainting checkpoint, and a published Segment Anything."""
    encoders = (CLIPTextModel, _CLIP), (CLIPTextModelWithProjection, _OPEN_CLIP)
    return _published(sam, SDXL_UNET, *encoders, upcasts_vae=True)


def _published(
    sam: str, unet: dict[str, Any], *encoders: tuple[Any, dict[str, Any]], upcasts_vae: bool = False
) -> Architectures:
    """Two checkpoints that share all but their UNets."""
    with torch.device("meta"):
        text_to_image = CheckpointArchitecture(
            unet=_unet({**unet, "in_channels": 4}),
            vae=AutoencoderKL(**SD15_VAE).eval(),
            text_encoders=nn.ModuleList(kind(CLIPTextConfig(**config)).eval() for kind, config in encoders),
            upcasts_vae=upcasts_vae,
        )
        inpainting = replace(text_to_image, unet=_unet({**unet, "in_channels": 9}))
        return Architectures(segmenter=build_sam(PUBLISHED[sam]), text_to_image=text_to_image, inpainting=inpainting)


def _of_folder(folder: Path) -> CheckpointArchitecture:
    """A checkpoint as diffusers saves it; on the device that is torch's default."""
    config = _config(folder / "vae")
    kinds = (CLIPTextModel, CLIPTextModelWithProjection) if is_sdxl(folder) else (CLIPTextModel,)
    encoders = (
        kind(CLIPTextConfig.from_pretrained(folder / name)).eval()
        for kind, name in zip(kinds, TEXT_ENCODERS, strict=False)
    )
    vae: Any = vae_class(folder / "vae")
    return CheckpointArchitecture(
        unet=_unet(_config(folder / "unet")),
        vae=vae.from_config(config).eval(),
        text_encoders=nn.ModuleList(encoders),
        upcasts_vae=upcasts_vae(folder),
    )


def _unet(config: dict[str, Any]) -> Any:
    kind: Any = UNet2DConditionModel
    return kind.from_config(config).eval()


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())
