"""Pictures and masks as tensors and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from inpaint_server.domain.arrays import PaintMask, Pixels


def picture_tensor(pixels: Pixels) -> Tensor:
    """A picture as 3 x H x W float32 in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1


def mask_tensor(mask: PaintMask) -> Tensor:
    """A mask as 1 x H x W float32: 1 where the canvas is repainted, else 0."""
    return torch.from_numpy((mask > 127).astype(np.float32))[None]


def copied_to(device: torch.device, tensor: Tensor) -> Tensor:
    """A tensor from the CPU on a device, without waiting: on CUDA from pinned memory, since other copies block."""
    source = tensor.pin_memory() if device.type == "cuda" else tensor
    return source.to(device, non_blocking=True)


def byte_pictures(unit: Tensor) -> Tensor:
    """N x 3 x H x W numbers, about [0, 1], as N x H x W x 3 uint8 where they are: clamped and rounded."""
    return (unit.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
