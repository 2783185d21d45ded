"""The bundle's upscaler: Swin2SR (Conde et al., Swin2SR, 2022), for pictures generated smaller than their canvas."""

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
from inpaint_server.models.tensors import byte_pictures


class Upscaler:
    """Enlarges by the factor it was trained for.

    Args:
        folder: As transformers saves it.
        device: Where it runs.
        estimator: Measures the memory that its calls take.
    """

    def __init__(self, folder: Path, device: Device, estimator: MemoryEstimator) -> None:
        self._device = device
        self._estimator = estimator
        self._model = load(Swin2SRForImageSuperResolution, folder, device)

    @torch.inference_mode()
    def upscale(self, calls: Sequence[Upscale]) -> list[Pixels]:
        """Each picture, both sides times the model's factor.

        Raises:
            OutOfMemory: a picture does not fit beside the other models.
        """
        with translate_out_of_memory():
            return [self._upscaled(call.picture) for call in calls]

    def _upscaled(self, picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        window = self._model.config.window_size
        values = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        padded = functional.pad(values, (0, -width % window, 0, -height % window), mode="replicate")
        inputs = padded.to(self._device.torch_device, self._device.dtype)
        larger: Tensor = self._estimator.run_measured("upscale", inputs, lambda rows: self._model(rows).reconstruction)
        factor = self._model.config.upscale
        enlarged = byte_pictures(larger[:, :, : factor * height, : factor * width])[0]
        return Pixels(frozen_array(enlarged.cpu().numpy()))
