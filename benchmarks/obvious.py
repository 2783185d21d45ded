"""The replaced sample's algorithm written the obvious way: Segment Anything and two diffusers pipelines."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from PIL import Image, ImageFilter
from safetensors.torch import load_file
from segment_anything import SamPredictor

from inpaint_server.models.sam import SamConfig, build_sam


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Solver, steps and guidance of one pass."""

    solver: Any
    options: dict[str, Any]
    steps: int
    guidance_scale: float


def karras(steps: int, guidance_scale: float) -> Effort:
    """The solver of our profile `quality`."""
    options = {"use_karras_sigmas": True}
    return Effort(solver=DPMSolverMultistepScheduler, options=options, steps=steps, guidance_scale=guidance_scale)


_PNDM: Final = {"skip_prk_steps": True, "set_alpha_to_one": False}
THE_SAMPLES_OWN: Final = [
    Effort(solver=PNDMScheduler, options=_PNDM, steps=50, guidance_scale=10.0),
    Effort(solver=PNDMScheduler, options=_PNDM, steps=100, guidance_scale=8.5),
    Effort(solver=PNDMScheduler, options=_PNDM, steps=100, guidance_scale=8.5),
]


class Obvious:
    """The models of a bundle, and one advert at a time.

    Args:
        folder: The bundle's.
        side: Side of the square canvas, pixels.
        device: Where the models run.
        dtype: Precision of Stable Diffusion's weights; Segment Anything's predictor knows float32 alone.
    """

    def __init__(self, folder: Path, side: int, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        sam = build_sam(SamConfig.from_json(folder / "sam" / "config.json"))
        sam.load_state_dict({name: w.float() for name, w in load_file(folder / "sam" / "model.safetensors").items()})
        self._predictor = SamPredictor(sam.to(device))
        text_to_image: Any = StableDiffusionPipeline
        inpainting: Any = StableDiffusionInpaintPipeline
        how = {"dtype": dtype, "local_files_only": True}
        self._text_to_image = text_to_image.from_pretrained(folder / "stable-diffusion", **how)
        self._inpainting = inpainting.from_pretrained(folder / "stable-diffusion-inpainting", **how)
        for pipeline in (self._text_to_image, self._inpainting):
            pipeline.to(device)
            pipeline.set_progress_bar_config(disable=True)
        self._side = side

    def advert(self, photo: Image.Image, words: tuple[str, str], seed: int, efforts: Sequence[Effort]) -> Image.Image:
        """Mask, background, lower and upper layer, composite."""
        square = (self._side, self._side)
        photo = photo.convert("RGB").resize(square)
        mask = self._mask(photo)
        background, foreground = words
        shift = random.Random(seed).randint(self._side // 10, self._side // 4)  # noqa: S311
        photo, mask = (_placed(part, shift) for part in (photo, mask))
        canvas = self._paint(self._text_to_image, background, seed, efforts[0])
        canvas.paste(photo, mask=mask)
        line = int(np.mean(np.flatnonzero(np.asarray(mask).any(axis=1))))
        for prompt, box, effort in (
            (foreground, (0, line, *square), efforts[1]),
            (background, (0, 0, self._side, line), efforts[2]),
        ):
            repaint = Image.new("L", square)
            repaint.paste(255, box)
            repaint.paste(0, mask=mask)
            inputs = {"image": canvas, "mask_image": repaint.filter(ImageFilter.GaussianBlur(4))}
            canvas = self._paint(self._inpainting, prompt, seed, effort, **inputs)
        canvas.paste(photo, mask=mask)
        return canvas

    def _mask(self, photo: Image.Image) -> Image.Image:
        self._predictor.set_image(np.asarray(photo))
        centre = np.array([[self._side / 2, self._side / 2]])
        masks, _, _ = self._predictor.predict(centre, np.array([1]), multimask_output=True)
        return Image.fromarray(masks.any(axis=0))

    def _paint(self, pipeline: Any, prompt: str, seed: int, effort: Effort, **inputs: Any) -> Image.Image:
        pipeline.scheduler = effort.solver.from_config(pipeline.scheduler.config, **effort.options)
        return pipeline(
            prompt,
            height=self._side,
            width=self._side,
            num_inference_steps=effort.steps,
            guidance_scale=effort.guidance_scale,
            generator=torch.Generator().manual_seed(seed),
            **inputs,
        ).images[0]


def _placed(part: Image.Image, shift: int) -> Image.Image:
    """Scaled by 0.6 into the canvas's middle and moved down."""
    side = part.width
    small = part.resize((round(side * 0.6),) * 2)
    canvas = Image.new(part.mode, part.size)
    canvas.paste(small, ((side - small.width) // 2, min((side - small.height) // 2 + shift, side - small.height)))
    return canvas
