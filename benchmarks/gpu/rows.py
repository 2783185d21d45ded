"""Calls of the inpainting UNet with 1 to 16 rows: eager and as a CUDA graph, with each attention that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, XFormersAttnProcessor
from torch import Tensor

from benchmarks.gpu.clock import seconds
from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from inpaint_server.models.bundle import find, open_bundle
from inpaint_server.models.device import choose
from inpaint_server.models.layout import INPAINTING
from inpaint_server.models.loading import load

_TOKENS: Final = 77
_ATTENTIONS: Final[dict[str, Any]] = {"sdpa": AttnProcessor2_0, "xformers": XFormersAttnProcessor}
_WARM_UPS: Final = 3
"""Calls before a capture, on a stream of their own, as torch's documentation of CUDA graphs asks for."""


def measure(target: Target, record: Record) -> None:
    """Every attention in turn; one that does not run is said."""
    unet = inpainting_unet(target)
    if target.device == "cpu":
        record.remark("CUDA graphs were left out: they need a CUDA device")
    for attention, processor in _ATTENTIONS.items():
        try:
            unet.set_attn_processor(processor())
            _call(unet, inputs_of(unet, 1))
        except Exception as error:
            if attention == "sdpa":
                raise
            # It is not installed, has no kernel for this device, or its extension does not load.
            record.remark(f"{attention} does not run here: {str(error).partition(chr(10))[0][:200]}")
            continue
        for rows in rows_of(target):
            with record.attempt(f"{rows} rows, {attention}"):
                _time(target, record, attention, unet, rows)


def _time(target: Target, record: Record, attention: str, unet: Any, rows: int) -> None:
    """One number of rows: eager, and captured where that can be."""
    inputs = inputs_of(unet, rows)
    record.figure(name_of(rows, attention, "eager"), milliseconds(target, lambda: _call(unet, inputs)), "ms")
    if target.device == "cuda":
        replay = _captured(unet, inputs)
        record.figure(name_of(rows, attention, "graphed"), milliseconds(target, replay), "ms")


def rows_of(target: Target) -> tuple[int, ...]:
    """The numbers of rows that are measured."""
    return (1, 2) if target.small else (1, 2, 4, 8, 16)


def name_of(rows: int, attention: str, way: str) -> str:
    """What a figure is called."""
    return f"UNet call, {rows} row{'s' if rows > 1 else ''}, {attention}, {way}"


@torch.inference_mode()
def milliseconds(target: Target, call: Callable[[], object]) -> float:
    """Of one call."""
    return 1000 * seconds(call, calls=2 if target.small else 5, rounds=1 if target.small else 3)


def inpainting_unet(target: Target) -> Any:
    """The bundle's inpainting UNet on the device, as the server loads it."""
    folder = open_bundle(find(target.bundle, Path())).folder / INPAINTING / "unet"
    return load(UNet2DConditionModel, folder, choose(target.device, "auto"))


def inputs_of(unet: Any, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Samples, time steps and embeddings for so many rows of the native size."""
    side = unet.config["sample_size"]
    samples = torch.zeros(rows, unet.config["in_channels"], side, side, device=unet.device, dtype=unet.dtype)
    embeds = torch.zeros(rows, _TOKENS, unet.config["cross_attention_dim"], device=unet.device, dtype=unet.dtype)
    return samples, torch.full((rows,), 500.0, device=unet.device), embeds


@torch.inference_mode()
def _call(unet: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return unet(*inputs, return_dict=False)[0]


def _captured(unet: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Callable[[], None]:
    """A call as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            _call(unet, inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _call(unet, inputs)
    return graph.replay
