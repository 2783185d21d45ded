"""The bundle's safety checker: it compares a picture's CLIP embedding with those of unsafe concepts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPImageProcessor

from inpaint_server.domain.calls import CheckSafety
from inpaint_server.models.device import Device, translate_out_of_memory
from inpaint_server.models.loading import load


class SafetyChecker:
    """Stable Diffusion's own (Rando et al., Red-Teaming the Stable Diffusion Safety Filter, 2022, describe it).

    Args:
        folder: As diffusers saves it, with its image processor's `preprocessor_config.json`.
        device: Where it runs.
    """

    def __init__(self, folder: Path, device: Device) -> None:
        self._device = device
        self._processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        self._checker = load(StableDiffusionSafetyChecker, folder, device)

    @torch.inference_mode()
    def check_safety(self, calls: Sequence[CheckSafety]) -> list[bool]:
        """Whether each picture is classified as unsafe.

        Raises:
            OutOfMemory: the pictures do not fit beside the other models.
        """
        pictures = [Image.fromarray(call.picture) for call in calls]
        with translate_out_of_memory():
            inputs = self._processor(pictures, return_tensors="pt").pixel_values
            # The checker blackens the images it finds unsafe: it gets blank ones.
            blank = np.zeros((len(pictures), 1, 1, 3), np.float32)
            _, unsafe = self._checker(clip_input=inputs.to(self._device.torch_device, self._device.dtype), images=blank)
        return [bool(flag) for flag in unsafe]
