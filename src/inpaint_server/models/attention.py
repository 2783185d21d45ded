"""Which kernel computes the attention of UNets and VAEs: chosen by measurement, and read back from the modules."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog
import torch
from diffusers import UNet2DConditionModel
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, XFormersAttnProcessor
from torch import nn

from inpaint_server.models.device import Device, translate_out_of_memory

log = structlog.get_logger(__name__)
_ROUNDS: Final = 3
_NAMES: Final[dict[type, str]] = {XFormersAttnProcessor: "xformers", AttnProcessor2_0: "sdpa"}


def enable_attention(unets: Sequence[UNet2DConditionModel], vaes: Sequence[nn.Module], device: Device) -> str:
    """Set the fastest attention that runs on the device in every module, and return `attention_of` them.

    Candidates are xformers and PyTorch's fused scaled-dot-product attention. Where both run, each is timed on the first
    UNet's largest self-attention.

    Args:
        unets: Every UNet, those for few steps among them; the first one is measured.
        vaes: Every autoencoder; one without attention is left as it is.
        device: Where they are.

    Raises:
        OutOfMemory: the measurement does not fit beside the weights.
    """
    models = [*unets, *vaes]
    candidates: list[type] = [AttnProcessor2_0]
    if _xformers_runs(models, device):
        candidates.append(XFormersAttnProcessor)
    with translate_out_of_memory():
        fastest = candidates[0] if len(candidates) == 1 else _fastest(unets[0], candidates, device)
    for module in _attention_modules(models):
        module.set_processor(fastest())
    return attention_of(models)


def attention_of(models: Sequence[nn.Module]) -> str:
    """The attention that the models run, by the classes of their processors: `xformers`, `sdpa`, or another's class.

    Several are joined with `+`.
    """
    kinds = {type(module.processor) for module in _attention_modules(models)}
    return "+".join(sorted(_NAMES.get(kind, kind.__name__) for kind in kinds))


def _attention_modules(models: Sequence[nn.Module]) -> Iterator[Any]:
    return (module for model in models for module in model.modules() if isinstance(module, Attention))


@torch.inference_mode()
def _xformers_runs(models: Sequence[nn.Module], device: Device) -> bool:
    """Whether xformers is installed and has a kernel for every head size of the models on this device."""
    library: Any = attention_processor.xformers  # None where it is not installed
    if library is None:
        return False
    head_sizes = {module.inner_dim // module.heads for module in _attention_modules(models)}
    try:
        for size in sorted(head_sizes):
            query = torch.zeros(1, 2, size, device=device.torch_device, dtype=device.dtype)
            library.ops.memory_efficient_attention(query, query, query)
    except (
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:  # no CUDA, no kernel, an extension that fails to load
        log.info("xformers_unavailable", error=str(error).partition("\n")[0])
        return False
    return True


@torch.inference_mode()
def _fastest(unet: UNet2DConditionModel, candidates: Sequence[type], device: Device) -> type:
    """The fastest processor on a UNet's first self-attention, with guidance's two rows at the native size."""
    module, tokens = _largest_attention(unet)
    hidden = torch.zeros(2, tokens, module.query_dim, device=device.torch_device, dtype=device.dtype)
    seconds: dict[type, float] = {}
    for kind in candidates:
        module.set_processor(kind())
        seconds[kind] = _seconds(module, hidden)
    log.info("attention_measured", **{f"{_NAMES[kind]}_ms": round(took * 1000, 3) for kind, took in seconds.items()})
    return min(seconds, key=lambda kind: seconds[kind])


def _largest_attention(unet: UNet2DConditionModel) -> tuple[Any, int]:
    """The outermost self-attention and its number of tokens."""
    for level, block in enumerate(unet.down_blocks):
        for module in _attention_modules([block]):
            return module, (unet.config["sample_size"] >> level) ** 2
    raise AssertionError("Stable Diffusion's UNets attend on the way down")


def _seconds(module: nn.Module, hidden: torch.Tensor) -> float:
    """The shortest of several calls; the first call, which may choose kernels, does not count."""
    took: list[float] = []
    for _ in range(1 + _ROUNDS):
        began = time.perf_counter()
        module(hidden)
        if hidden.is_cuda:
            torch.cuda.synchronize(hidden.device)
        took.append(time.perf_counter() - began)
    return min(took[1:])
