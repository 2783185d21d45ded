"""The CUDA path, on a machine with a GPU (`make test-gpu`)."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import Generate, Segment
from inpaint_server.domain.geometry import Point, Size
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.errors import OutOfMemory
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.capture import capture_for
from inpaint_server.models.device import choose
from testing.passes import decoded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
FOLDER = Path(os.environ.get("MODEL_DIR", "")) if os.environ.get("MODEL_DIR") else bundles.DEMO


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(bundles.open_bundle(FOLDER), choose("cuda", "auto"))


@pytest.fixture(scope="module")
def captured() -> TorchBackend:
    """With the UNets' calls for up to two guided passes captured as CUDA graphs."""
    device = choose("cuda", "auto")
    backend = TorchBackend(bundles.open_bundle(FOLDER), device, capture=capture_for(device))
    backend.capture(Size(height=256, width=256), max_batch=2)
    return backend


def generate(seed: int, size: Size | None = None) -> Generate:
    return Generate(
        prompt="a wooden table",
        negative_prompt="",
        size=size or Size(height=256, width=256),
        sampling=Sampling(steps=8, guidance_scale=5.0, scheduler="dpmpp_2m_karras"),
        noise_seed=seed,
    )


def run(backend: TorchBackend, *calls: Generate) -> list[Pixels]:
    states = backend.begin(calls)
    while not states[0].done:
        backend.advance(states)
    return decoded(backend, states)


def test_weights_are_half_precision_on_gpu(backend: TorchBackend):
    assert backend.card.dtype == "float16"
    assert backend.card.attention in {"xformers", "sdpa"}
    assert next(backend.inpainting.unet.parameters()).is_cuda


def test_gpu_picture_is_close_to_cpu_picture(backend: TorchBackend):
    """Half precision against single: the same picture to the eye, mean difference below 4/255."""
    on_cpu = TorchBackend(bundles.open_bundle(FOLDER), choose("cpu", "float32"))
    difference = np.abs(run(backend, generate(1))[0].astype(int) - run(on_cpu, generate(1))[0])
    assert difference.mean() < 4


def test_picture_does_not_depend_on_its_batch(backend: TorchBackend):
    together = run(backend, generate(1), generate(2), generate(3))
    for seed, picture in enumerate(together, start=1):
        assert np.abs(run(backend, generate(seed))[0].astype(int) - picture).mean() < 1


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
def test_no_step_waits_for_gpu(backend: TorchBackend, scheduler: Scheduler):
    """torch raises where the host would wait for the device. A first pass may wait: its steps choose kernels."""
    call = replace(generate(1), sampling=replace(generate(1).sampling, scheduler=scheduler))
    run(backend, call)
    states = backend.begin([call])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this check is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        while not states[0].done:
            backend.advance(states)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_photo_is_segmented(backend: TorchBackend):
    photo = np.full((256, 256, 3), 20, np.uint8)
    photo[80:180, 90:170] = 230
    points = (Point(x=128, y=128, label=1),)
    found = propose_masks(backend.segment([Segment(photo=Pixels(frozen_array(photo)), points=points, box=None)])[0])
    assert found.masks.shape == (3, 256, 256)


def test_max_passes_fit_into_memory(backend: TorchBackend):
    size = Size(height=512, width=512)
    (state,) = backend.begin([generate(1, size)])
    backend.advance([state])
    count = min(64, backend.max_passes(state))
    assert count > 1
    backend.advance(backend.begin([generate(seed, size) for seed in range(count)]))


def test_pass_after_out_of_memory(backend: TorchBackend):
    with pytest.raises(OutOfMemory):
        backend.advance(backend.begin([generate(seed, Size(height=2048, width=2048)) for seed in range(64)]))
    assert run(backend, generate(1))[0].shape == (256, 256, 3)


@pytest.mark.parametrize("reuse_features", [1, 2])
@pytest.mark.parametrize("passes", [1, 2])
def test_pictures_of_cuda_graphs_are_same(
    backend: TorchBackend, captured: TorchBackend, passes: int, reuse_features: int
):
    """The same kernels for the same rows; 1/255 is what the rounding of a picture may add."""
    calls = [generate(seed) for seed in range(passes)]
    calls = [replace(call, sampling=replace(call.sampling, reuse_features=reuse_features)) for call in calls]
    for replayed, evaluated in zip(run(captured, *calls), run(backend, *calls), strict=True):
        assert np.abs(replayed.astype(int) - evaluated).max() <= 1


def test_cuda_graphs_are_given_up_when_memory_runs_out(captured: TorchBackend):
    before = run(captured, generate(1))[0]
    reserved = torch.cuda.memory_reserved()
    with pytest.raises(OutOfMemory):
        captured.advance(captured.begin([generate(seed, Size(height=2048, width=2048)) for seed in range(64)]))
    assert torch.cuda.memory_reserved() < reserved
    assert np.abs(run(captured, generate(1))[0].astype(int) - before).max() <= 1
