"""How many pictures one model call holds: measured while the models work, not assumed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import psutil
import torch
from torch import Tensor

from inpaint_server.models.cost import counted
from inpaint_server.models.device import Device

R = TypeVar("R")

_SHARE: Final = 0.8
"""Of the free memory; the rest is left to gaps between allocations and to whoever else allocates meanwhile."""

_CONTAINER_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def rows_that_fit(free_bytes: int, bytes_a_row: float) -> int:
    """How many rows a batch may have; at least 1, since only trying shows that not even one fits."""
    return max(1, int(_SHARE * free_bytes / bytes_a_row))


class MemoryEstimator:
    """Knows what each kind of model call took at its peak, for one number of a row of its input.

    Until a kind was measured it holds one row: the first row is the measurement (a server's warm-up makes it). On CUDA
    the allocator counts every call; on the CPU, where counting slows a call down, only the first is counted.

    Args:
        device: Where the calls run.
        free_bytes: Tells the memory that is free; default, the device's.
    """

    def __init__(self, device: Device, free_bytes: Callable[[], int] | None = None) -> None:
        self._device = device.torch_device
        self._free_bytes = free_bytes or (_free_on_cuda if self._device.type == "cuda" else _free_on_host)
        self._bytes_a_number: dict[str, float] = {}

    def max_rows(self, kind: str, numbers_a_row: int) -> int:
        """How many rows of so many numbers fit into one call."""
        if kind not in self._bytes_a_number:
            return 1
        return rows_that_fit(self._free_bytes(), self._bytes_a_number[kind] * numbers_a_row)

    def measured(self, kind: str, rows: Tensor, call: Callable[[Tensor], R]) -> R:
        """Call a model with all the rows, and remember what it took."""
        if self._device.type == "cuda":
            before = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            made = call(rows)
            peak = torch.cuda.max_memory_allocated(self._device) - before
        elif kind not in self._bytes_a_number:
            made, peak = counted(lambda: call(rows))
        else:
            return call(rows)
        self._bytes_a_number[kind] = max(self._bytes_a_number.get(kind, 0.0), peak / rows.numel())
        return made

    def in_parts(self, kind: str, rows: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        """Call a model with as many rows at a time as fit."""
        made: list[Tensor] = []
        while len(rows):
            some = self.max_rows(kind, rows[0].numel())
            made.append(self.measured(kind, rows[:some], call))
            rows = rows[some:]
        return torch.cat(made)


def _free_on_cuda() -> int:
    """What the driver has left, and what the allocator holds without using it."""
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def _free_on_host() -> int:
    """What the machine has left, or the container this runs in if that is less."""
    machine = psutil.virtual_memory().available
    limit = _CONTAINER_LIMIT.read_text().strip() if _CONTAINER_LIMIT.is_file() else "max"
    return machine if limit == "max" else max(0, min(machine, int(limit) - psutil.Process().memory_info().rss))


def give_back() -> None:
    """Give freed memory back to the system.

    glibc keeps what was freed, in each of its threads' arenas, for whoever asks next; tensors of many sizes on many
    threads leave holes there, and a server seems to grow. Elsewhere (musl, macOS) this does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
