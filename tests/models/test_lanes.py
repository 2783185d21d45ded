"""Calls in two halves at once: the same results, each half's own features, and nothing lost when one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import Tensor

from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.feature_reuse import evaluate_and_cache
from inpaint_server.models.lanes import Lanes

BOTH = 2


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(cores=BOTH)


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_results_are_those_of_one_call(lanes: Lanes, rows: int):
    def doubled_and_summed(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * one, one.sum(dim=1) + other

    inputs = torch.arange(3.0 * rows).reshape(rows, 3), torch.arange(1.0 * rows)
    for found, wanted in zip(lanes.run(doubled_and_summed, inputs), doubled_and_summed(*inputs), strict=True):
        assert torch.equal(found, wanted)


def test_halves_run_at_once(lanes: Lanes):
    met = threading.Barrier(BOTH, timeout=30)

    def meet(rows: Tensor) -> tuple[Tensor]:
        met.wait()  # alone it would wait for ever
        return (rows,)

    assert len(lanes.run(meet, (torch.zeros(BOTH),))[0]) == BOTH


@pytest.mark.parametrize(("cores", "rows"), [(1, 8), (BOTH, 1)])
def test_what_cannot_be_halved_stays_on_its_thread(cores: int, rows: int):
    threads: list[int] = []

    def note(inputs: Tensor) -> tuple[Tensor]:
        threads.append(threading.get_ident())
        return (inputs,)

    Lanes(cores).run(note, (torch.zeros(rows),))
    assert threads == [threading.get_ident()]


def test_error_of_one_half_comes_when_both_have_ended(lanes: Lanes):
    failed, ended = threading.Event(), list[int]()

    def fail_or_end(rows: Tensor) -> tuple[Tensor]:
        if rows[0] == 0:
            failed.set()
            raise RuntimeError("out of memory")
        failed.wait(30)
        ended.append(len(rows))
        return (rows,)

    with pytest.raises(RuntimeError, match="out of memory"):
        lanes.run(fail_or_end, (torch.tensor([0, 1]),))
    assert ended == [1]


def test_features_are_those_of_each_half(backend: TorchBackend, lanes: Lanes):
    unet = backend.inpainting.unet
    rng = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(4, unet.config["in_channels"], 8, 8, generator=rng),
        torch.linspace(900, 20, 4),
        torch.randn(4, 7, unet.config["cross_attention_dim"], generator=rng),
    )
    together = lanes.run(partial(evaluate_and_cache, unet), inputs)
    for found, wanted in zip(together, evaluate_and_cache(unet, *inputs), strict=True):
        # Kernels for two rows add up in another order than those for four: rounding in float32.
        assert torch.allclose(found, wanted, atol=1e-5)


def test_later_threads_may_use_all_cores():
    before = torch.get_num_threads()
    try:
        Lanes(cores=4)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 4
    finally:
        torch.set_num_threads(before)
