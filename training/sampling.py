"""Pictures of a finished bundle by diffusers' own pipelines, for evaluation and the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How pictures are drawn."""

    steps: int = 20
    guidance_scale: float = 4.0
    batch: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The two diffusion models of a bundle, in float32 on the CPU."""

    text_to_image: StableDiffusionPipeline
    inpainting: StableDiffusionInpaintPipeline

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads a bundle's folder."""
        return cls(
            text_to_image=_prepared(StableDiffusionPipeline, folder / "stable-diffusion"),
            inpainting=_prepared(StableDiffusionInpaintPipeline, folder / "stable-diffusion-inpainting"),
        )

    def backgrounds(
        self, prompts: Sequence[str], seeds: Sequence[int], *, size: tuple[int, int] = (256, 256), sampling: Sampling
    ) -> NDArray[np.uint8]:
        """Text-to-image, one picture a prompt.

        Args:
            prompts: N prompts.
            seeds: N seeds; a picture does not depend on its neighbours.
            size: Height and width.
            sampling: How.

        Returns:
            (N, H, W, 3) uint8.
        """
        pictures: list[NDArray[np.uint8]] = []
        for start in range(0, len(prompts), sampling.batch):
            part = slice(start, start + sampling.batch)
            pictures += _run(self.text_to_image, prompts[part], seeds[part], size, sampling, {})
        return np.stack(pictures)

    def repaint(
        self,
        pictures: NDArray[np.uint8],
        masks: NDArray[np.bool_],
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        sampling: Sampling,
        strength: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Inpainting, one picture a prompt.

        Args:
            pictures: (N, H, W, 3) uint8.
            masks: (N, H, W) bool, True where it is repainted.
            prompts: N prompts.
            seeds: N seeds.
            sampling: How.
            strength: How much of what is there may change; 1 starts from noise alone.

        Returns:
            (N, H, W, 3) uint8, as the model gives it: also what is kept went through the autoencoder.
        """
        painted: list[NDArray[np.uint8]] = []
        for start in range(0, len(prompts), sampling.batch):
            part = slice(start, start + sampling.batch)
            inputs = {
                "image": [Image.fromarray(picture) for picture in pictures[part]],
                "mask_image": [Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)) for mask in masks[part]],
                "strength": strength,
            }
            size = (pictures.shape[1], pictures.shape[2])
            painted += _run(self.inpainting, prompts[part], seeds[part], size, sampling, inputs)
        return np.stack(painted)


def _prepared(kind: Any, folder: Path) -> Any:
    pipeline = kind.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True, use_safetensors=True)
    config = pipeline.scheduler.config
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _run(
    pipeline: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: tuple[int, int],
    sampling: Sampling,
    inputs: dict[str, Any],
) -> list[NDArray[np.uint8]]:
    answer = pipeline(
        prompt=list(prompts),
        height=size[0],
        width=size[1],
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
        **inputs,
    )
    return [np.round(picture * 255).astype(np.uint8) for picture in answer.images]
