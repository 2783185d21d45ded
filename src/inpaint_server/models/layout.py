"""The layout of a bundle's folder: what it is called inside, and what every bundle has.

`bundle.json` beside `sam/`, `stable-diffusion/` and `stable-diffusion-inpainting/`, the latter two as diffusers saves
them; each of these may hold a second UNet, trained for few steps. Without `stable-diffusion-inpainting/` the other
checkpoint inpaints, too. Beside them there may be a `safety-checker/` (Stable
Diffusion's, with its image processor's `preprocessor_config.json`) and an `upscaler/` (Swin2SR, as transformers saves
it). Only safetensors are loaded.
"""

from __future__ import annotations

from collections.abc import Collection
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

_SEGMENTER_FILES: Final = (f"{SEGMENTER}/config.json", f"{SEGMENTER}/model.safetensors")
_CHECKPOINT_FILES: Final = (
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    f"unet/{DIFFUSION_WEIGHTS}",
    "vae/config.json",
    f"vae/{DIFFUSION_WEIGHTS}",
)
_SECOND_ENCODER_FILES: Final = (
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "tokenizer_2/tokenizer_config.json",
)


def required_files(files: Collection[str]) -> list[str]:
    """The files that a bundle needs, relative to its folder.

    Args:
        files: Those it has, which show its kind: with or without an inpainting checkpoint, with one text encoder or
            two.
    """
    required: list[str] = [*_SEGMENTER_FILES]
    for folder in (TEXT_TO_IMAGE, INPAINTING):
        present = {path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/")}
        if folder == TEXT_TO_IMAGE or present:
            second = any(path.startswith(("text_encoder_2/", "tokenizer_2/")) for path in present)
            wanted = _CHECKPOINT_FILES + (_SECOND_ENCODER_FILES if second else ())
            required += [f"{folder}/{file}" for file in wanted]
    return required


def stays_inside(path: str) -> bool:
    """Whether a relative path with `/` stays inside the folder that it is relative to."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts
