"""The machine, and the bundle of real size that the other parts load."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from benchmarks.machine import describe
from benchmarks.real_size_bundle import make


def measure(target: Target, record: Record) -> None:
    """Say what is measured, and make the bundle on the device unless it is there."""
    record.machine({**describe(), "measured on": target.device, "bundle": target.bundle})
    if target.small:
        record.remark("the demo bundle was measured with few steps, to try whether everything runs")
        return
    begun = time.perf_counter()
    dtype = torch.float16 if target.device == "cuda" else torch.bfloat16
    make(Path(target.bundle), device=target.device, dtype=dtype)
    record.figure("making a bundle of real size, or finding it", time.perf_counter() - begun, "s")
