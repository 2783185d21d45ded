"""Where the models run and in which precision; out of memory as an error of ours."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from inpaint_server.errors import DeviceFailed, OutOfMemory, SettingsError

DeviceName = Literal["auto", "cuda", "cpu"]
PrecisionName = Literal["auto", "float16", "bfloat16", "float32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A torch device and the precision of the weights on it."""

    torch_device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """`cpu`, or the accelerator's own name."""
        if self.torch_device.type == "cuda":
            return torch.cuda.get_device_name(self.torch_device)
        return self.torch_device.type

    @property
    def memory_gb(self) -> float | None:
        """Memory of the accelerator, 10^9 bytes; None on the CPU."""
        if self.torch_device.type != "cuda":
            return None
        return torch.cuda.get_device_properties(self.torch_device).total_memory / 1e9

    @property
    def dtype_name(self) -> str:
        """`float16`, `bfloat16` or `float32`."""
        return str(self.dtype).removeprefix("torch.")


def choose(device: DeviceName, precision: PrecisionName) -> Device:
    """The device and precision for the settings; `auto`: CUDA where there is one, float16 on it, float32 on the CPU.

    Raises:
        SettingsError: there is no CUDA device for the setting `cuda`.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "No CUDA device is visible: start the container with --gpus all, or set INPAINT_DEVICE=cpu.",
            field="INPAINT_DEVICE",
        )
    kind = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    default = "float16" if kind == "cuda" else "float32"
    dtype: torch.dtype = getattr(torch, default if precision == "auto" else precision)
    return Device(torch_device=torch.device(kind), dtype=dtype)


@contextmanager
def translate_out_of_memory() -> Generator[None]:
    """Translate an allocator's failure into `OutOfMemory`, and free what the failed call held.

    Raises:
        OutOfMemory: the device or the host had too little memory.
        DeviceFailed: the device reported an error after which each further call fails, too.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        _free_frames(error)
        raise OutOfMemory(_ADVICE) from None
    except RuntimeError as error:
        if isinstance(error, torch.AcceleratorError) or any(name in str(error) for name in _FATAL_MESSAGES):
            raise DeviceFailed(str(error)) from error
        if not any(message in str(error) for message in _HOST_ALLOCATOR_MESSAGES):
            raise
        _free_frames(error)
        raise OutOfMemory(_ADVICE) from None


_HOST_ALLOCATOR_MESSAGES = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
_FATAL_MESSAGES = (
    "CUDA error",
    "device-side assert",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_EXECUTION_FAILED",
)
_ADVICE = "The device's memory does not hold a picture of this size: make `width` and `height` smaller."


def _free_frames(error: BaseException) -> None:
    """Free the failed call's tensors, which the frames in its traceback still reference."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
