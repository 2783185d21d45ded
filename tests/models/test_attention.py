"""Which attention runs in every UNet and autoencoder, for each combination of what is installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0, XFormersAttnProcessor
from torch import Tensor, nn
from torch.nn import functional

from inpaint_server.commands.doctor import examine
from inpaint_server.models import attention
from inpaint_server.models import bundle as bundles
from inpaint_server.models.attention import attention_of, enable_attention
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose
from inpaint_server.models.layout import FEW_STEP_UNET, INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.manifest import write_manifest
from inpaint_server.settings import read

CPU = choose("cpu", "float32")


def refuse(*_: Tensor, **__: Any) -> Tensor:
    """As xformers does on a device that it has no kernel for, or where its extension does not load."""
    raise NotImplementedError("No operator found for `memory_efficient_attention_forward`")


def slow(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
    """The same result as PyTorch's attention, computed twenty times."""
    for _repeat in range(19):
        functional.scaled_dot_product_attention(query, key, value)
    return functional.scaled_dot_product_attention(query, key, value)


def fast(query: Tensor, *_: Tensor, **__: Any) -> Tensor:
    """No attention at all, in no time."""
    return query


INSTALLED = [
    (None, AttnProcessor2_0),
    (refuse, AttnProcessor2_0),
    (slow, AttnProcessor2_0),
    (fast, XFormersAttnProcessor),
]
NAMES: dict[type, str] = {AttnProcessor2_0: "sdpa", XFormersAttnProcessor: "xformers"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes in PyTorch's attention alone, a second a call: which one is faster does not depend on the machine."""
    seconds = [0.0]
    computed: Any = functional.scaled_dot_product_attention

    def counted(*tensors: Tensor, **options: Any) -> Tensor:
        seconds[0] += 1
        return computed(*tensors, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    monkeypatch.setattr(attention, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Replaces the xformers that diffusers imports, or removes it."""

    def put(memory_efficient_attention: Any) -> None:
        library = memory_efficient_attention and SimpleNamespace(
            ops=SimpleNamespace(memory_efficient_attention=memory_efficient_attention)
        )
        monkeypatch.setattr(attention_processor, "xformers", library)

    return put


def small_unet() -> UNet2DConditionModel:
    kind: Any = UNet2DConditionModel
    return kind(
        sample_size=32,
        block_out_channels=(64, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
    ).eval()


def processors(*models: nn.Module) -> set[type]:
    return {type(module.processor) for model in models for module in model.modules() if isinstance(module, Attention)}


@pytest.mark.parametrize(("library", "processor"), INSTALLED)
def test_modules_run_fastest_installed_attention(install: Callable[[Any], None], library: Any, processor: type):
    install(library)
    kind: Any = AutoencoderKL
    unets, vae = [small_unet(), small_unet()], kind()
    for model in (*unets, vae):
        model.set_default_attn_processor()  # the plain formula, which materialises the matrix of scores
    assert enable_attention(unets, [vae], CPU) == NAMES[processor]
    for model in (*unets, vae):
        assert processors(model) == {processor}


@pytest.mark.parametrize(("library", "processor"), INSTALLED)
def test_backend_reports_attention_of_its_modules(
    install: Callable[[Any], None], copy: Path, library: Any, processor: type
):
    for checkpoint in (TEXT_TO_IMAGE, INPAINTING):
        shutil.copytree(copy / checkpoint / "unet", copy / checkpoint / FEW_STEP_UNET)
    write_manifest(copy, name="test", version="1", licence="none", native_size=256)
    install(library)
    backend = TorchBackend(bundles.open_bundle(copy), CPU)
    checkpoints = [backend.text_to_image, backend.inpainting]
    unets = [unet for one in checkpoints for unet in (one.unet, one.few_step.unet if one.few_step else None) if unet]
    assert len({id(unet) for unet in unets}) == 4
    for unet in unets:
        assert processors(unet) == {processor}
    assert backend.card.attention == NAMES[processor]


def test_report_names_each_class_of_processor():
    unet = small_unet()
    next(module for module in unet.modules() if isinstance(module, Attention)).set_processor(AttnProcessor())
    assert attention_of([unet]) == "AttnProcessor+sdpa"


def test_doctor_reports_attention_of_unet(install: Callable[[Any], None]):
    results: list[str] = []
    for library in (None, fast):
        install(library)
        results += [check.result for check in examine(read(bundle="demo")) if check.subject == "attention"]
    assert results == ["sdpa", "xformers"]
