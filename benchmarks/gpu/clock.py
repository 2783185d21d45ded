"""Seconds of work on a device, to its end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object], *, calls: int, rounds: int) -> float:
    """Seconds of one call of `work`: the median over rounds of so many calls each, after one that warms up."""
    work()
    took: list[float] = []
    for _ in range(rounds):
        synchronize()
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        synchronize()
        took.append((time.perf_counter() - begun) / calls)
    return statistics.median(took)


def synchronize() -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
