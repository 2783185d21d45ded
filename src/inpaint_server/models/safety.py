"""The bundle's safety checker: CLIP's view of a picture against the concepts it was published with."""

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
    def check_safety(self, asks: Sequence[CheckSafety]) -> list[bool]:
        """Whether each picture is taken for unsafe.

        Raises:
            OutOfMemory: the pictures do not fit beside the other models.
        """
        pictures = [Image.fromarray(ask.picture) for ask in asks]
        with translate_out_of_memory():
            seen = self._processor(pictures, return_tensors="pt").pixel_values
            # The checker blackens what it finds: it gets something else to blacken.
            blank = np.zeros((len(pictures), 1, 1, 3), np.float32)
            _, found = self._checker(clip_input=seen.to(self._device.torch_device, self._device.dtype), images=blank)
        return [bool(one) for one in found]
