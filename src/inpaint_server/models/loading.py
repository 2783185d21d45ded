"""Weights from a bundle's folder onto the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from inpaint_server.models.device import Device

_CONVOLUTION_DIMENSIONS: Final = 4


def load(kind: Any, folder: Path, device: Device) -> Any:
    """One model in evaluation mode on the device, convolutions channels last (they are faster so).

    Every weight is copied: on the CPU it would look at the mapped file, and the whole map stays in memory, beside what
    was copied of it, for as long as one weight does.
    """
    model = kind.from_pretrained(folder, dtype=device.dtype, use_safetensors=True, local_files_only=True)
    model = model.to(device.torch_device).requires_grad_(False).eval()
    for weight in (*model.parameters(), *model.buffers()):
        convolves = weight.dim() == _CONVOLUTION_DIMENSIONS
        weight.data = weight.data.clone(memory_format=torch.channels_last if convolves else torch.contiguous_format)
    return model
