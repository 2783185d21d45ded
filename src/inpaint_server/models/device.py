"""Where the models run and in which precision; out of memory as an error of ours."""

from __future__ import annotations

import gc
import traceback
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

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


class RunAhead:
    """Lets the host queue steps before the device has done the earlier ones, but only `steps` of them.

    So the device always has work, and what was decided meanwhile (a request was ended, or another one waits) still
    comes into effect after a step or two: what is queued cannot be taken back.

    Args:
        device: Where the steps run.
        steps: Steps that are queued at most when the host goes on.
        mark: Marks the end of what is queued; by default with an event on CUDA, and elsewhere nothing is queued.
    """

    def __init__(self, device: Device, *, steps: int = 2, mark: Callable[[], Mark] | None = None) -> None:
        self._steps = steps
        self._mark = mark or (_mark_on_cuda if device.torch_device.type == "cuda" else None)
        self._marks: deque[Mark] = deque()

    def step_queued(self) -> None:
        """Wait until no more steps than allowed are queued; called after each.

        Raises:
            DeviceFailed: the device reported an error after which each further call fails, too.
        """
        if self._mark is None:
            return
        with translate_out_of_memory():
            self._marks.append(self._mark())
            if len(self._marks) > self._steps:
                self._marks.popleft().synchronize()


class Mark(Protocol):
    """A place in the device's queue."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""
        ...


def _mark_on_cuda() -> Mark:
    event = torch.cuda.Event(blocking=True)  # the waiting thread sleeps, and leaves its core to the others
    event.record()
    return event


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
