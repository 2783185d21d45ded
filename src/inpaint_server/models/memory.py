"""How many rows of a batch fit into memory: measured while the models run, not assumed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final, TypeVar

import torch
from torch import Tensor

from inpaint_server import host_memory
from inpaint_server.models.cost import with_peak_bytes
from inpaint_server.models.device import Device

R = TypeVar("R")

_USABLE_FRACTION: Final = 0.8
"""Of the free memory; the rest is left to gaps between allocations and to other processes."""


def rows_that_fit(free_bytes: int, bytes_per_row: float) -> int:
    """How many rows a batch may have; at least 1, since only trying shows that not even one fits."""
    return max(1, int(_USABLE_FRACTION * free_bytes / bytes_per_row))


class MemoryEstimator:
    """Measures the peak memory of each kind of model call, per element of its input.

    A kind that was not measured yet gets one row, which is its measurement (a server's warm-up makes it). On CUDA every
    call is measured, by the allocator; on the CPU, where measuring slows a call down, only the first.

    Args:
        device: Where the calls run.
        free_bytes: Returns the bytes that are free; by default the device's.

    Attributes:
        withheld_bytes: Bytes that seem to be free and are not: the memory pool of captured calls.
    """

    def __init__(self, device: Device, free_bytes: Callable[[], int] | None = None) -> None:
        self._device = device.torch_device
        self._free_bytes = free_bytes or (_free_on_cuda if self._device.type == "cuda" else host_memory.free_bytes)
        self._bytes_per_element: dict[str, float] = {}
        self.withheld_bytes = 0

    def max_rows(self, kind: str, elements_per_row: int) -> int:
        """How many rows of so many elements fit into one call; at least 1."""
        if kind not in self._bytes_per_element:
            return 1
        return rows_that_fit(self._free_bytes() - self.withheld_bytes, self._bytes_per_element[kind] * elements_per_row)

    def has_measured(self, kind: str) -> bool:
        """Whether a call of this kind was measured."""
        return kind in self._bytes_per_element

    def run_measured(self, kind: str, rows: Tensor, call: Callable[[Tensor], R]) -> R:
        """Call a model with all rows, and record its peak memory."""
        if self._device.type == "cuda":
            before = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            result = call(rows)
            peak = torch.cuda.max_memory_allocated(self._device) - before
        elif kind not in self._bytes_per_element:
            result, peak = with_peak_bytes(lambda: call(rows))
        else:
            return call(rows)
        self._bytes_per_element[kind] = max(self._bytes_per_element.get(kind, 0.0), peak / rows.numel())
        return result

    def run_in_chunks(self, kind: str, rows: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        """Call a model with as many rows at a time as fit, and concatenate the results."""
        results: list[Tensor] = []
        while len(rows):
            count = self.max_rows(kind, rows[0].numel())
            results.append(self.run_measured(kind, rows[:count], call))
            rows = rows[count:]
        return torch.cat(results)


def _free_on_cuda() -> int:
    """The driver's free memory, and what the allocator has reserved without using it, the captured calls' pool too."""
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def trim_heap() -> None:
    """Return freed memory to the system.

    glibc keeps freed memory in each thread's arena for the next allocation; tensors of many sizes on many threads leave
    holes there, and the server's memory seems to grow. With other C libraries (musl, macOS) this does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
