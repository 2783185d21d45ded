"""Captured calls, with recordings in place of CUDA graphs: a replay runs no Python and reuses its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import Generate
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling
from inpaint_server.errors import OutOfMemory
from inpaint_server.models import bundle as bundles
from inpaint_server.models import capture as capturing
from inpaint_server.models import graphs
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import Device, choose
from inpaint_server.models.feature_reuse import evaluate_and_cache, evaluate_shallow
from inpaint_server.models.graphs import MAX_CAPTURED, OFTEN, ROWS, CapturedCalls
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.server import loading
from inpaint_server.settings import read
from testing.passes import run_passes
from testing.recorded_calls import RecordedCalls

CPU = choose("cpu", "float32")
SIZE = Size(height=64, width=64)
CALL = Generate(
    prompt="a wooden table",
    negative_prompt="",
    size=SIZE,
    sampling=Sampling(steps=4, guidance_scale=5.0, scheduler="ddim", reuse_features=2),
    noise_seed=1,
)


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def capture() -> RecordedCalls:
    return RecordedCalls()


@pytest.fixture
def calls(capture: RecordedCalls) -> CapturedCalls:
    return CapturedCalls(MemoryEstimator(CPU), capture)


def doubled(rows: Tensor) -> tuple[Tensor]:
    return (rows * 2,)


def numbers(rows: int, columns: int = 3) -> Tensor:
    return torch.arange(1.0, rows * columns + 1).reshape(rows, columns)


def unet_inputs(unet: Any, rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    samples = torch.randn(rows, unet.config["in_channels"], 8, 8, generator=rng)
    prompt_embeds = torch.randn(rows, 7, unet.config["cross_attention_dim"], generator=rng)
    return samples, torch.linspace(900, 20, rows), prompt_embeds


@pytest.mark.parametrize("rows", [1, 2, 4, 8])
def test_replay_equals_evaluation_bit_for_bit(
    backend: TorchBackend, calls: CapturedCalls, capture: RecordedCalls, rows: int
):
    unet = backend.text_to_image.unet
    full = partial(evaluate_and_cache, unet)
    calls.capture_rows("unet", full, *unet_inputs(unet, 1), max_rows=rows)
    for seed in (1, 2):
        inputs = unet_inputs(unet, rows, seed)
        for replayed, evaluated in zip(calls.run("unet", full, *inputs), full(*inputs), strict=True):
            assert torch.equal(replayed, evaluated), "both the prediction and the deep features"
    assert capture.replayed == 2


def test_rows_between_captured_numbers_are_padded(backend: TorchBackend, calls: CapturedCalls, capture: RecordedCalls):
    unet = backend.inpainting.unet
    full = partial(evaluate_and_cache, unet)
    calls.capture_rows("unet", full, *unet_inputs(unet, 1), max_rows=4)
    calls.run("unet", full, *unet_inputs(unet, 4, seed=1))  # leaves its last row in the padding
    inputs = unet_inputs(unet, 3, seed=2)
    replayed, evaluated = calls.run("unet", full, *inputs), full(*inputs)
    assert capture.replayed == 2
    for one, other in zip(replayed, evaluated, strict=True):
        assert one.shape == other.shape
        # Kernels for four rows add up in another order than those for three: rounding in float32.
        assert torch.allclose(one, other, atol=1e-5)


def test_shallow_replay_takes_features_of_its_call(backend: TorchBackend, calls: CapturedCalls):
    unet = backend.text_to_image.unet
    shallow, (samples, timesteps, prompt_embeds) = partial(evaluate_shallow, unet), unet_inputs(unet, 1)
    _, deep = evaluate_and_cache(unet, samples, timesteps, prompt_embeds)
    calls.capture_rows("shallow", shallow, samples, timesteps, deep, prompt_embeds, max_rows=2)
    for seed in (1, 2):
        samples, timesteps, prompt_embeds = unet_inputs(unet, 2, seed)
        prediction, deep = evaluate_and_cache(unet, samples, timesteps, prompt_embeds)
        inputs = samples, timesteps, deep, prompt_embeds
        assert torch.equal(calls.run("shallow", shallow, *inputs)[0], shallow(*inputs)[0])
        assert torch.allclose(calls.run("shallow", shallow, *inputs)[0], prediction, atol=1e-5)


def test_results_outlive_next_call(calls: CapturedCalls):
    calls.capture_rows("double", doubled, numbers(1), max_rows=2)
    first = calls.run("double", doubled, numbers(2))[0]
    calls.run("double", doubled, -numbers(2))
    assert torch.equal(first, 2 * numbers(2))


def test_replay_sees_weights_changed_in_place(calls: CapturedCalls, capture: RecordedCalls):
    layer = nn.Linear(3, 5)

    def function(rows: Tensor) -> tuple[Tensor]:
        return (layer(rows),)

    calls.capture_rows("layer", function, numbers(1), max_rows=2)
    before = calls.run("layer", function, numbers(2))[0]
    layer.weight.mul_(3)
    after = calls.run("layer", function, numbers(2))[0]
    assert capture.replayed == 2
    assert torch.equal(after, layer(numbers(2)))
    assert not torch.allclose(after, before)


def test_other_shapes_and_more_rows_than_captured_are_not_replayed(calls: CapturedCalls, capture: RecordedCalls):
    calls.capture_rows("double", doubled, numbers(1), max_rows=ROWS[-1])
    for other in (numbers(ROWS[-1] + 1), numbers(2, columns=4), numbers(2).double()):
        assert torch.equal(calls.run("double", doubled, other)[0], 2 * other)
    assert torch.equal(calls.run("another", doubled, numbers(2))[0], 2 * numbers(2))
    assert capture.replayed == 0


def test_call_asked_for_often_is_captured_when_idle(calls: CapturedCalls, capture: RecordedCalls):
    for _ in range(OFTEN - 1):
        calls.run("double", doubled, numbers(3))
    assert not calls.capture_asked()
    assert capture.captured == 0, "not often enough"
    for _ in range(OFTEN):
        calls.run("double", doubled, numbers(2))
        calls.run("double", doubled, numbers(3))
    assert calls.capture_asked(), "the other one waits"
    assert not calls.capture_asked()
    assert capture.captured == 2
    for rows in (2, 3, 4):
        assert torch.equal(calls.run("double", doubled, numbers(rows))[0], 2 * numbers(rows))
    assert capture.replayed == 3


def test_call_used_least_recently_is_dropped_first(calls: CapturedCalls, capture: RecordedCalls):
    for columns in range(1, MAX_CAPTURED + 1):
        calls.capture_rows("double", doubled, numbers(1, columns), max_rows=1)
    calls.run("double", doubled, numbers(1, columns=1))
    calls.capture_rows("double", doubled, numbers(1, MAX_CAPTURED + 1), max_rows=1)
    capture.replayed = 0
    for columns in (1, 3, MAX_CAPTURED + 1):
        calls.run("double", doubled, numbers(1, columns))
    assert capture.replayed == 3
    assert torch.equal(calls.run("double", doubled, numbers(1, columns=2))[0], 2 * numbers(1, columns=2))
    assert capture.replayed == 3, "the one with two columns was dropped"


def test_pool_is_not_free_memory():
    estimator = MemoryEstimator(CPU, free_bytes=lambda: 10_000)
    calls = CapturedCalls(estimator, RecordedCalls())
    calls.run("double", doubled, numbers(1, 100))
    before = estimator.max_rows("double", 100)
    calls.capture_rows("double", doubled, numbers(1, 100), max_rows=4)
    pool_bytes = 4 * 400  # the product of four rows of 100 float32
    assert before == int(0.8 * 10_000 / 400)
    assert estimator.max_rows("double", 100) == int(0.8 * (10_000 - pool_bytes) / 400)
    assert calls.give_up()
    assert estimator.max_rows("double", 100) == before
    assert not calls.give_up(), "nothing is left"


def test_capture_that_does_not_fit_is_left_out(capture: RecordedCalls):
    # Doubling a row of 100 numbers takes 400 bytes. Of the 2400 that may be taken, two rows are more than a quarter.
    calls = CapturedCalls(MemoryEstimator(CPU, free_bytes=lambda: 3000), capture)
    calls.capture_rows("double", doubled, numbers(1, 100), max_rows=2)
    for rows in (1, 2):
        assert torch.equal(calls.run("double", doubled, numbers(rows, 100))[0], 2 * numbers(rows, 100))
    assert (capture.captured, capture.replayed) == (1, 1)


def test_out_of_memory_during_capture_leaves_calls_as_they_are(calls: CapturedCalls, capture: RecordedCalls):
    capture.error = torch.OutOfMemoryError("CUDA out of memory.")
    calls.capture_rows("double", doubled, numbers(1), max_rows=2)
    assert torch.equal(calls.run("double", doubled, numbers(2))[0], 2 * numbers(2))
    capture.error = None
    calls.capture_rows("double", doubled, numbers(1), max_rows=2)
    calls.run("double", doubled, numbers(2))
    assert capture.replayed == 1


def test_call_that_reads_value_back_switches_captures_off(calls: CapturedCalls, capture: RecordedCalls):
    def reads_back(rows: Tensor) -> tuple[Tensor]:
        return (rows * float(rows.sum()),)

    calls.capture_rows("double", doubled, numbers(1), max_rows=1)
    calls.capture_rows("reads back", reads_back, numbers(1), max_rows=1)
    assert torch.equal(calls.run("reads back", reads_back, numbers(1))[0], numbers(1) * 6)
    assert torch.equal(calls.run("double", doubled, numbers(1))[0], 2 * numbers(1))
    assert (capture.replayed, capture.released, calls.captures) == (0, 1, False)


@pytest.fixture(scope="module")
def captured() -> tuple[TorchBackend, RecordedCalls]:
    """A backend of its own with captured calls."""
    capture = RecordedCalls()
    backend = TorchBackend(bundles.open_bundle(bundles.DEMO), CPU, capture=capture)
    backend.capture(SIZE, max_batch=1)
    return backend, capture


def assert_same(one: Pixels, other: Pixels) -> None:
    """Within 1/255: calls that are not replayed are made in two halves, which round otherwise than the whole."""
    assert np.abs(one.astype(int) - other).max() <= 1


def test_pictures_with_captured_calls_are_same(backend: TorchBackend, captured: tuple[TorchBackend, RecordedCalls]):
    with_captures, capture = captured
    capture.replayed = 0
    assert_same(run_passes(with_captures, CALL)[0], run_passes(backend, CALL)[0])
    assert capture.replayed == CALL.sampling.steps, "two full evaluations and two that reuse features"


def test_captured_calls_are_given_up_first_when_memory_is_short(
    backend: TorchBackend, captured: tuple[TorchBackend, RecordedCalls]
):
    with_captures, capture = captured
    with_captures.capture(SIZE, max_batch=1)

    def fail_while_captured(*_: object) -> None:
        if not capture.released:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with with_captures.text_to_image.vae.decoder.register_forward_pre_hook(fail_while_captured):
        picture = run_passes(with_captures, CALL)[0]
    assert capture.released == 1
    assert_same(picture, run_passes(backend, CALL)[0])


def test_memory_that_is_short_without_captured_calls_is_reported(backend: TorchBackend):
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with backend.text_to_image.vae.decoder.register_forward_pre_hook(fail), pytest.raises(OutOfMemory):
        run_passes(backend, CALL)


def test_idle_backend_captures_what_was_asked_for_often(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "OFTEN", 2)
    capture = RecordedCalls()
    backend = TorchBackend(bundles.open_bundle(bundles.DEMO), CPU, capture=capture)
    before = run_passes(backend, CALL)[0]
    assert backend.idle()
    assert not backend.idle()
    assert_same(run_passes(backend, CALL)[0], before)
    assert capture.replayed == CALL.sampling.steps


@pytest.mark.parametrize("cuda_graphs", ["auto", "off"])
def test_native_size_is_captured_before_server_is_ready(
    backend: TorchBackend, capture: RecordedCalls, monkeypatch: pytest.MonkeyPatch, cuda_graphs: str
):
    def stand_in(_: Device) -> RecordedCalls:
        return capture

    monkeypatch.setattr(capturing, "capture_for", stand_in)
    loaded, defaults = loading.load_backend(
        read(bundle="demo", device="cpu", dtype="float32", max_batch=1, cuda_graphs=cuda_graphs)
    )
    native = replace(CALL, size=defaults.size)
    assert_same(run_passes(loaded, native)[0], run_passes(backend, native)[0])
    assert capture.replayed == (native.sampling.steps if cuda_graphs == "auto" else 0)
