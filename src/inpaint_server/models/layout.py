"""The layout of a bundle's folder: what it is called inside, and what every bundle has.

`bundle.json` beside `sam/`, `stable-diffusion/` and `stable-diffusion-inpainting/`, the latter two as diffusers saves
them; each of these may hold a second UNet, trained for few steps. Beside them there may be a `safety-checker/` (Stable
Diffusion's, with its image processor's `preprocessor_config.json`) and an `upscaler/` (Swin2SR, as transformers saves
it). Only safetensors are loaded.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

MANIFEST: Final = "bundle.json"
TEXT_TO_IMAGE: Final = "stable-diffusion"
INPAINTING: Final = "stable-diffusion-inpainting"
SEGMENTER: Final = "sam"
FEW_STEP_UNET: Final = "unet-few-step"
SAFETY_CHECKER: Final = "safety-checker"
UPSCALER: Final = "upscaler"
TEXT_ENCODERS: Final = ("text_encoder", "text_encoder_2")
TOKENIZERS: Final = ("tokenizer", "tokenizer_2")
"""SDXL has both of each, Stable Diffusion 1 and 2 the first."""

DIFFUSION_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"

REQUIRED_FILES: Final = (
    f"{SEGMENTER}/config.json",
    f"{SEGMENTER}/model.safetensors",
    *(
        f"{folder}/{file}"
        for folder in (TEXT_TO_IMAGE, INPAINTING)
        for file in (
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "tokenizer/tokenizer_config.json",
            "unet/config.json",
            f"unet/{DIFFUSION_WEIGHTS}",
            "vae/config.json",
            f"vae/{DIFFUSION_WEIGHTS}",
        )
    ),
)


def stays_inside(path: str) -> bool:
    """Whether a relative path with `/` stays inside the folder that it is relative to."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts
