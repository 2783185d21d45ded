"""The bundle's upscaler: Swin2SR (Conde et al., Swin2SR, 2022), for scenes painted smaller than their canvas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Swin2SRForImageSuperResolution

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import Upscale
from inpaint_server.models.device import Device, translate_out_of_memory
from inpaint_server.models.loading import load
from inpaint_server.models.memory import MemoryEstimator


class Upscaler:
    """Enlarges by the factor it was trained for.

    Args:
        folder: As transformers saves it.
        device: Where it runs.
        gauge: Measures what its calls take.
    """

    def __init__(self, folder: Path, device: Device, gauge: MemoryEstimator) -> None:
        self._device = device
        self._gauge = gauge
        self._model = load(Swin2SRForImageSuperResolution, folder, device)

    @torch.inference_mode()
    def upscale(self, asks: Sequence[Upscale]) -> list[Pixels]:
        """Each picture, both sides times the model's factor.

        Raises:
            OutOfMemory: a picture does not fit beside the other models.
        """
        with translate_out_of_memory():
            return [self._enlarged(ask.picture) for ask in asks]

    def _enlarged(self, picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        window = self._model.config.window_size
        values = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        whole_windows = functional.pad(values, (0, -width % window, 0, -height % window), mode="replicate")
        seen = whole_windows.to(self._device.torch_device, self._device.dtype)
        made: Tensor = self._gauge.measured("enlarge", seen, lambda one: self._model(one).reconstruction)[0]
        factor = self._model.config.upscale
        unit = made[:, : factor * height, : factor * width].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return Pixels(frozen_array(np.rint(unit * 255).astype(np.uint8)))
