"""Calls of the inpainting UNet compiled by torch; last, because the first call may take minutes."""

from __future__ import annotations

import time
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from benchmarks.gpu.clock import synchronize
from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from benchmarks.gpu.rows import inpainting_unet, inputs_of, milliseconds, name_of, rows_of


def measure(target: Target, record: Record) -> None:
    """Two rows, one advert's with guidance, come first; every number of rows is compiled for itself.

    Where it is only tried, the calls are traced: generating a CPU's code for them takes minutes.
    """
    unet = inpainting_unet(target)
    unet.set_attn_processor(AttnProcessor2_0())
    if target.small:
        record.remark("the calls were traced, and not compiled")
    compiled: Any = torch.compile(unet, dynamic=False, backend="eager" if target.small else "inductor")
    for rows in sorted(rows_of(target), key=lambda rows: rows != 2):
        inputs = inputs_of(unet, rows)
        call = torch.inference_mode()(lambda inputs=inputs: compiled(*inputs, return_dict=False))
        begun = time.perf_counter()
        call()
        synchronize()
        record.figure(f"first call of {rows} rows, compiled", time.perf_counter() - begun, "s")
        record.figure(name_of(rows, "sdpa", "compiled"), milliseconds(target, call), "ms")
        if target.small:
            return
