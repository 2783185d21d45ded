"""The CUDA path, on a machine with a GPU: `make test-gpu`, or without the lock `python -m benchmarks gpu cuda_tests`.

The tests use nothing of `tests/` and `testing/`, so that they start where the packages of the other tests are missing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, XFormersAttnProcessor
from torch.profiler import ProfilerActivity, profile

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import Generate, Segment
from inpaint_server.domain.geometry import Point, Size
from inpaint_server.domain.request import Sampling, Scheduler
from inpaint_server.errors import OutOfMemory
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.models import bundle as bundles
from inpaint_server.models.architectures import of_bundle
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.capture import capture_for
from inpaint_server.models.device import choose
from inpaint_server.models.plan import make_plan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
FOLDER = Path(os.environ.get("MODEL_DIR", "")) if os.environ.get("MODEL_DIR") else bundles.DEMO
SMALL = Size(height=256, width=256)


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(bundles.open_bundle(FOLDER), choose("cuda", "auto"))


@pytest.fixture(scope="module")
def captured() -> TorchBackend:
    """With the UNets' calls for up to two guided passes captured as CUDA graphs."""
    device = choose("cuda", "auto")
    backend = TorchBackend(bundles.open_bundle(FOLDER), device, capture=capture_for(device))
    backend.capture(SMALL, max_batch=2)
    return backend


@pytest.fixture(scope="module")
def on_cpu() -> TorchBackend:
    return TorchBackend(bundles.open_bundle(FOLDER), choose("cpu", "float32"))


def generate(seed: int, size: Size = SMALL, **sampling: Any) -> Generate:
    how: dict[str, Any] = {"steps": 8, "guidance_scale": 5.0, "scheduler": "dpmpp_2m_karras", **sampling}
    return Generate(prompt="a wooden table", negative_prompt="", size=size, sampling=Sampling(**how), noise_seed=seed)


def run(backend: TorchBackend, *calls: Generate) -> list[Pixels]:
    """Run passes that share every evaluation."""
    states = backend.begin(calls)
    while not states[0].done:
        backend.advance(states)
    return [picture.pixels() for picture in backend.finish(states)]


def unets_and_vaes(backend: TorchBackend) -> list[Any]:
    return [model for one in (backend.text_to_image, backend.inpainting) for model in (one.unet, one.vae)]


def test_weights_are_half_precision_on_gpu(backend: TorchBackend):
    assert backend.card.dtype == "float16"
    assert next(backend.inpainting.unet.parameters()).is_cuda


def test_attention_is_what_card_says(backend: TorchBackend):
    """In every module, and without the matrix of scores, which the plain formula takes the softmax of."""
    processor = {"sdpa": AttnProcessor2_0, "xformers": XFormersAttnProcessor}[backend.card.attention]
    modules = [one for model in unets_and_vaes(backend) for one in model.modules() if isinstance(one, Attention)]
    assert {type(module.processor) for module in modules} == {processor}
    states = backend.begin([generate(1)])
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as record:
        backend.advance(states)
    called = {event.key for event in record.key_averages()}
    assert any("attention" in name for name in called)
    assert [name for name in called if "softmax" in name] == []


@pytest.mark.parametrize("scheduler", ["dpmpp_2m_karras", "euler_ancestral"])
def test_seed_gives_same_noise_on_gpu_and_cpu(backend: TorchBackend, on_cpu: TorchBackend, scheduler: str):
    """What a pass starts from, and what its solver adds in each step; scaled on each device, so not to the last bit."""
    here, there = (one.begin([generate(1, scheduler=scheduler)])[0] for one in (backend, on_cpu))
    assert here.latents.is_cuda
    torch.testing.assert_close(here.latents.cpu(), there.latents)
    assert torch.equal(here.noise.cpu(), there.noise)
    assert bool(here.noise.any()) == (scheduler == "euler_ancestral")


@pytest.mark.parametrize("scheduler", ["dpmpp_2m_karras", "euler_ancestral"])
def test_gpu_picture_is_close_to_cpu_picture(backend: TorchBackend, on_cpu: TorchBackend, scheduler: str):
    """Half precision against single: the same picture to the eye, mean difference below 4/255."""
    call = generate(1, scheduler=scheduler)
    difference = np.abs(run(backend, call)[0].astype(int) - run(on_cpu, call)[0])
    assert difference.mean() < 4


def test_picture_does_not_depend_on_its_batch(backend: TorchBackend):
    together = run(backend, generate(1), generate(2), generate(3))
    for seed, picture in enumerate(together, start=1):
        assert np.abs(run(backend, generate(seed))[0].astype(int) - picture).mean() < 1


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
def test_no_step_waits_for_gpu(backend: TorchBackend, scheduler: Scheduler):
    """torch raises where the host would wait for the device. A first pass may wait: its steps choose kernels."""
    call = generate(1, scheduler=scheduler)
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


@pytest.mark.parametrize("reuse_features", [1, 2])
@pytest.mark.parametrize("passes", [1, 2])
def test_pictures_of_cuda_graphs_are_same(
    backend: TorchBackend, captured: TorchBackend, passes: int, reuse_features: int
):
    """The same kernels for the same rows; 1/255 is what the rounding of a picture may add."""
    calls = [generate(seed, reuse_features=reuse_features) for seed in range(passes)]
    for replayed, evaluated in zip(run(captured, *calls), run(backend, *calls), strict=True):
        assert np.abs(replayed.astype(int) - evaluated).max() <= 1


def test_padded_graphs_give_eager_pictures(backend: TorchBackend, captured: TorchBackend):
    """The steps without guidance have 3 rows, which are padded to 4: as close as pictures of other batches."""
    calls = [generate(seed, guidance_interval=(0.2, 0.8)) for seed in range(3)]
    for eager, replayed in zip(run(backend, *calls), run(captured, *calls), strict=True):
        assert np.abs(eager.astype(int) - replayed).mean() < 1


def test_step_is_one_graph(captured: TorchBackend):
    states = captured.begin([generate(1)])
    captured.advance(states)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as record:
        captured.advance(states)
        torch.cuda.synchronize()
    launches = {event.key: event.count for event in record.key_averages() if "Launch" in event.key}
    assert launches.pop("cudaGraphLaunch") == 1
    assert sum(launches.values()) < 50, "what is around the model; its own kernels are hundreds"


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


def test_memory_of_evaluation_is_within_ten_percent_of_plan(backend: TorchBackend):
    """Many rows, so that the workspaces of the libraries, which the plan does not know, are a small part."""
    batch, size = 32, Size(height=512, width=512)
    models = of_bundle(bundles.open_bundle(FOLDER))
    plan = make_plan(models, size=size, batch=batch, steps=1)
    planned = next(stage.cost.activation_bytes for stage in plan.stages if stage.name == "generate backgrounds")
    model: Any = backend.text_to_image.unet
    text_encoder: Any = models.text_to_image.text_encoders[0]
    tokens = text_encoder.config.max_position_embeddings
    with torch.inference_mode():
        like = partial(torch.zeros, device="cuda", dtype=torch.float16)
        inputs = (
            like(2 * batch, 4, 64, 64),
            like(2 * batch),
            like(2 * batch, tokens, model.config["cross_attention_dim"]),
        )
        model(*inputs)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model(*inputs)
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(planned, rel=0.1)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No more than a gigabyte beyond what is taken, however large the card is."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1e9) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_pass_after_out_of_memory(backend: TorchBackend):
    with pytest.raises(OutOfMemory):
        backend.advance(backend.begin([generate(seed, Size(height=2048, width=2048)) for seed in range(64)]))
    assert run(backend, generate(1))[0].shape == (256, 256, 3)


@pytest.mark.usefixtures("little_memory")
def test_cuda_graphs_are_given_up_when_memory_runs_out(captured: TorchBackend):
    before = run(captured, generate(1))[0]
    reserved = torch.cuda.memory_reserved()
    with pytest.raises(OutOfMemory):
        captured.advance(captured.begin([generate(seed, Size(height=2048, width=2048)) for seed in range(64)]))
    assert torch.cuda.memory_reserved() < reserved
    assert np.abs(run(captured, generate(1))[0].astype(int) - before).max() <= 1
