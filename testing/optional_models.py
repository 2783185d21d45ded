"""Models that a bundle may carry, as small as can be and untrained."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor, Swin2SRConfig, Swin2SRForImageSuperResolution

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_safety_checker(checker_folder: Path, processor_folder: Path, *, threshold: float) -> None:
    """A checker of random weights that takes a picture for unsafe whose likeness to a concept is above a threshold."""
    torch.manual_seed(0)
    config = CLIPConfig(vision_config={**SMALL, "image_size": 32, "patch_size": 8}, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config)
    for embeddings in (checker.concept_embeds, checker.special_care_embeds):
        embeddings.data = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1))
    checker.concept_embeds_weights.data.fill_(threshold)
    checker.special_care_embeds_weights.data.fill_(1.0)
    checker.save_pretrained(checker_folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        processor_folder
    )


def save_upscaler(folder: Path) -> None:
    config = Swin2SRConfig(
        image_size=32, embed_dim=12, depths=[1], num_heads=[2], window_size=8, upscale=2, upsampler="pixelshuffledirect"
    )
    Swin2SRForImageSuperResolution(config).save_pretrained(folder)
