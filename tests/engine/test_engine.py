"""Admission, batches, deadlines, failures and memory of the engine, on a backend of plain colours."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels, ProductMask, frozen_array
from inpaint_server.domain.calls import Generate, Segment
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, Sampling
from inpaint_server.domain.results import Progress
from inpaint_server.engine import device_loop
from inpaint_server.engine.device_loop import DeviceLoop
from inpaint_server.engine.engine import Engine
from inpaint_server.engine.work import PassWork, SingleCallWork
from inpaint_server.errors import DeadlineExceeded, Draining, Internal, InvalidRequest, OutOfMemory, Overloaded
from testing.plain_backend import PlainBackend, PlainPass
from testing.requests import resolved

TEN_STEPS = Sampling(steps=10, guidance_scale=3.0, scheduler="ddim")
WAIT_S = 30


def request(seeds: Sequence[int] = (1,), steps: int = 10, side: int = 64) -> AdvertRequest:
    advert = resolved(
        Pixels(frozen_array(np.full((90, 60, 3), 200, np.uint8))),
        side=side,
        background_prompt="beach",
        foreground_prompt="sand",
        background_strength=1.0,
        shadow=0.0,
    )
    sampling = replace(TEN_STEPS, steps=steps)
    return replace(advert, seeds=tuple(seeds), background_sampling=sampling, pass_sampling=sampling)


@pytest.fixture
def backend() -> PlainBackend:
    return PlainBackend()


@pytest.fixture
def engine(backend: PlainBackend):
    engine = Engine(backend, queue=2, max_batch=4)
    yield engine
    backend.gate.set()
    engine.drain()


def test_progress_reports_background_then_passes_in_order(engine: Engine[PlainPass]):
    progress: list[Progress] = []
    answer = engine.submit(request(), deadline_s=WAIT_S, on_progress=progress.append).answer.result(WAIT_S)
    assert [(step.stage, step.step) for step in progress] == [
        (stage, step) for stage in ("background", "pass 1", "pass 2") for step in range(1, 11)
    ]
    assert [advert.seed for advert in answer.adverts] == [1]
    assert len(answer.timings.passes) == 2


def test_photos_are_prepared_off_device_thread(engine: Engine[PlainPass], backend: PlainBackend):
    engine.submit(replace(request(), mask=None), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert len(backend.prepared_on) == 2, "the photo, and the finished picture for its receipt"
    assert all(name.startswith("request-") for name in backend.prepared_on)


def test_finished_pictures_of_request_are_segmented_together(backend: PlainBackend):
    """Though each takes its steps alone, and the first one waits for its receipt before the last one is painted."""
    backend.capacity = 1
    steps, pictures = 2, 3

    def hold_last_step(_: Sequence[PlainPass]) -> None:
        until = time.monotonic() + WAIT_S
        last = len(backend.batches) == 3 * steps * pictures - 1
        finished = pictures - 1
        while last and len(backend.prepared_on) < 1 + finished and time.monotonic() < until:  # 1: the photo
            threading.Event().wait(0.001)

    backend.before_step = hold_last_step
    engine = Engine(backend, queue=2, max_batch=4)
    answer = engine.submit(request(seeds=(1, 2, 3), steps=steps), deadline_s=WAIT_S).answer.result(WAIT_S)
    engine.drain()
    assert [count for name, count in backend.calls if name == "segment"] == [1, pictures]
    assert [advert.seed for advert in answer.adverts] == [1, 2, 3]


def test_candidates_of_request_are_segmented_together(engine: Engine[PlainPass], backend: PlainBackend):
    job = engine.submit(replace(request(seeds=(1, 2)), candidates=2), deadline_s=WAIT_S)
    assert len(job.answer.result(WAIT_S).adverts) == 2
    assert [count for name, count in backend.calls if name == "segment"] == [1, 2, 2]


def test_picture_that_fails_holds_up_no_other(engine: Engine[PlainPass], backend: PlainBackend):
    def fail_second(batch: Sequence[PlainPass]) -> None:
        if any(state.call.noise_seed == 2 for state in batch):
            raise RuntimeError("broken")

    backend.capacity = 1
    backend.before_step = fail_second
    assert isinstance(engine.submit(request(seeds=(1, 2)), deadline_s=WAIT_S).answer.exception(WAIT_S), Internal)


def test_progress_callback_that_raises_fails_only_its_own_request(engine: Engine[PlainPass], backend: PlainBackend):
    def fail(_: Progress) -> None:
        raise RuntimeError("no progress bar")

    backend.gate.clear()
    broken = engine.submit(request(), deadline_s=WAIT_S, on_progress=fail)
    other = engine.submit(request(seeds=(5,)), deadline_s=WAIT_S)
    backend.gate.set()
    assert isinstance(broken.answer.exception(WAIT_S), Internal)
    assert [advert.seed for advert in other.answer.result(WAIT_S).adverts] == [5]


def test_idle_listener_is_called_once_after_last_request(backend: PlainBackend):
    backend.gate.clear()
    batches: list[int] = []
    idle = threading.Event()

    def on_idle() -> None:
        batches.append(len(backend.batches))
        idle.set()

    engine = Engine(backend, queue=8, max_batch=4)
    engine.call_when_idle(on_idle)
    jobs = [engine.submit(request(seeds=(seed, seed + 1)), deadline_s=WAIT_S) for seed in (1, 5)]
    backend.gate.set()
    for job in jobs:
        job.answer.result(WAIT_S)
    assert idle.wait(WAIT_S)
    assert batches == [len(backend.batches)], "once, and after the last step"
    engine.drain()


def test_backend_prepares_only_while_nothing_is_to_be_done(backend: PlainBackend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device_loop, "IDLE_S", 0.01)
    steps_done: list[int] = []
    prepared = threading.Event()

    def prepare() -> bool:
        steps_done.append(len(backend.batches))
        if len(steps_done) == 3:
            prepared.set()
        return not prepared.is_set()

    backend.when_idle = prepare
    run_together(backend, [background(1, steps=20)], max_batch=1, until=prepared)
    assert steps_done == [20, 20, 20], "not between two steps, and until there was no more to prepare"


def background(seed: int, steps: int, side: int = 64) -> PassWork[PlainPass]:
    """A pass as the device loop receives it."""
    call = Generate(
        prompt="beach",
        negative_prompt="",
        size=Size(height=side, width=side),
        sampling=replace(TEN_STEPS, steps=steps),
        noise_seed=seed,
    )
    return PassWork(call=call, raise_if_ended=lambda: None, on_step=lambda _step, _steps: None)


def photo_to_segment() -> SingleCallWork:
    photo = Pixels(frozen_array(np.full((90, 60, 3), 200, np.uint8)))
    return SingleCallWork(call=Segment(photo=photo, points=(), box=None), raise_if_ended=lambda: None)


def run_together(
    backend: PlainBackend,
    works: Sequence[PassWork[PlainPass] | SingleCallWork],
    *,
    max_batch: int,
    until: threading.Event | None = None,
) -> None:
    """Run works that wait together, until each has its result or its error, and then `until` an event."""
    device = DeviceLoop(backend, max_batch=max_batch)
    submit_all(device, works)
    device.start()
    for work in works:
        work.future.exception(WAIT_S)
    if until is not None:
        assert until.wait(WAIT_S)
    device.stop()


def submit_all(device: DeviceLoop[PlainPass], works: Sequence[PassWork[PlainPass] | SingleCallWork]) -> None:
    for work in works:
        device.submit(work)


def batches_of_three(backend: PlainBackend, *, max_batch: int) -> list[list[int]]:
    """Noise seeds of each batch of three passes of two steps that wait together."""
    run_together(backend, [background(seed, steps=2) for seed in (1, 2, 3)], max_batch=max_batch)
    return backend.batches


def test_batch_of_passes_that_wait_together(backend: PlainBackend):
    assert batches_of_three(backend, max_batch=4) == [[1, 2, 3], [1, 2, 3]]


def test_batch_is_bounded_by_max_batch(backend: PlainBackend):
    assert [len(batch) for batch in batches_of_three(backend, max_batch=2)] == [2, 2, 2]


def test_batch_is_bounded_by_memory(backend: PlainBackend):
    backend.capacity = 1
    assert [len(batch) for batch in batches_of_three(backend, max_batch=4)] == [1] * 6


def test_calls_that_wait_together_share_one_model_call(backend: PlainBackend):
    works = [*(photo_to_segment() for _ in range(3)), *(background(seed, steps=2) for seed in (1, 2, 3))]
    run_together(backend, works, max_batch=6)
    assert backend.calls == [("segment", 3), ("begin", 3), ("finish", 3)]


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_out_of_memory_halves_every_kind_of_call(backend: PlainBackend, name: str):
    def fits_one(method: str, count: int) -> None:
        if method == name and count > 1:
            raise OutOfMemory("too many")

    backend.before_call = fits_one
    works = [*(photo_to_segment() for _ in range(3)), *(background(seed, steps=2) for seed in (1, 2, 3))]
    run_together(backend, works, max_batch=6)
    assert [work.future.exception() for work in works] == [None] * 6
    assert backend.calls.count((name, 1)) == 3


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_failed_call_does_not_affect_its_batch(backend: PlainBackend, name: str):
    bad = iter([True, True, False, False])

    def fail(method: str, _: int) -> None:
        if method == name and next(bad):
            raise ValueError("cannot be read")

    backend.before_call = fail
    works = [photo_to_segment() if name == "segment" else background(seed, steps=2) for seed in (1, 2, 3)]
    run_together(backend, works, max_batch=4)
    assert [isinstance(work.future.exception(), ValueError) for work in works] == [True, False, False]


def test_passes_go_on_while_picture_is_decoded(backend: PlainBackend):
    backend.arrived = lambda call: call.noise_seed != 1 or len(backend.batches) >= 5
    steps_done: list[int] = []
    first, second = background(1, steps=1), background(2, steps=10)
    first.future.add_done_callback(lambda _: steps_done.append(len(backend.batches)))
    run_together(backend, [first, second], max_batch=4)
    assert steps_done == [5]
    assert backend.batches == [[1, 2], *[[2]] * 9]


def test_idle_device_waits_for_picture(backend: PlainBackend):
    backend.arrived = lambda _: False
    works = [background(seed, steps=seed) for seed in (1, 2)]
    run_together(backend, works, max_batch=4)
    assert [work.future.exception() for work in works] == [None, None]


@pytest.mark.parametrize("error", [Internal("the numbers overflow"), OutOfMemory("make it smaller")])
def test_picture_that_cannot_be_decoded_fails_alone(backend: PlainBackend, error: Exception):
    def fail(call: Any) -> None:
        if call.noise_seed == 2:
            raise error

    backend.before_pixels = fail
    works = [background(seed, steps=2) for seed in (1, 2, 3)]
    run_together(backend, works, max_batch=4)
    assert [work.future.exception() for work in works] == [None, error, None]


def test_step_that_fails_is_not_repeated(backend: PlainBackend):
    def fail(batch: Sequence[PlainPass]) -> None:
        raise ValueError(f"{len(batch)} passes")

    backend.before_step = fail
    works = [background(seed, steps=2) for seed in (1, 2)]
    run_together(backend, works, max_batch=4)
    assert [str(work.future.exception()) for work in works] == ["2 passes"] * 2


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_out_of_memory_fails_only_oversized_calls(backend: PlainBackend, name: str):
    refused = iter([True, True, False, False])

    def run_out(method: str, _: int) -> None:
        if method == name and next(refused):
            raise OutOfMemory("make it smaller")

    backend.before_call = run_out
    works = [photo_to_segment() if name == "segment" else background(seed, steps=2) for seed in (1, 2, 3)]
    run_together(backend, works, max_batch=4)
    assert [isinstance(work.future.exception(), OutOfMemory) for work in works] == [True, False, False]


def all_freed(references: Sequence[weakref.ref[Any]]) -> bool:
    """Whether no referent is alive, once the threads wait for work."""
    until = time.monotonic() + WAIT_S
    while any(reference() is not None for reference in references) and time.monotonic() < until:
        gc.collect()
    return all(reference() is None for reference in references)


def test_idle_device_loop_holds_no_finished_work(backend: PlainBackend):
    device = DeviceLoop(backend, max_batch=4)
    device.start()
    works = [photo_to_segment(), background(1, steps=2), background(2, steps=3)]
    submit_all(device, works)
    references = [weakref.ref(work.future) for work in works]
    assert all(work.future.exception(WAIT_S) is None for work in works)
    works.clear()
    assert all_freed(references)
    device.stop()


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_failed_call_is_freed_while_its_error_is_kept(backend: PlainBackend, name: str):
    references: list[weakref.ref[Any]] = []

    def run_out(method: str, _: int) -> None:
        if method == name:
            activations = np.zeros(1000)
            references.append(weakref.ref(activations))
            raise OutOfMemory("make it smaller")

    backend.before_call = run_out
    work = photo_to_segment() if name == "segment" else background(1, steps=1)
    run_together(backend, [work], max_batch=4)
    assert isinstance(work.future.exception(), OutOfMemory)
    assert [reference() for reference in references] == [None]


def test_answered_request_is_freed(engine: Engine[PlainPass], backend: PlainBackend):
    def fail(method: str, _: int) -> None:
        if method == "finish":
            raise OutOfMemory("make it smaller")

    references: list[weakref.ref[Any]] = []
    for hook in (backend.before_call, fail):
        backend.before_call = hook
        job = engine.submit(request(), deadline_s=WAIT_S)
        references += [weakref.ref(job.answer), weakref.ref(job.product)]
        job.answer.exception(WAIT_S)
        del job
    assert all_freed(references)


def test_picture_does_not_depend_on_its_batch(engine: Engine[PlainPass]):
    together = engine.submit(request(seeds=(5, 6)), deadline_s=WAIT_S).answer.result(WAIT_S)
    for advert in together.adverts:
        alone = engine.submit(request(seeds=(advert.seed,)), deadline_s=WAIT_S).answer.result(WAIT_S)
        assert np.array_equal(alone.adverts[0].picture, advert.picture)


def test_short_pass_ends_before_long_one(backend: PlainBackend):
    device = DeviceLoop(backend, max_batch=4)
    ended: list[str] = []
    works = {"long": background(1, steps=100), "short": background(2, steps=2, side=128)}
    for name, work in works.items():
        work.future.add_done_callback(lambda _, name=name: ended.append(name))
        device.submit(work)
    device.start()
    for work in works.values():
        work.future.result(WAIT_S)
    device.stop()
    assert ended == ["short", "long"]
    assert backend.batches[:4] == [[1], [2], [1], [2]]


def test_short_request_ends_before_long_ones(backend: PlainBackend):
    """Though the long ones came first, fill a whole batch, and one of them has another size."""
    engine = Engine(backend, queue=3, max_batch=4)
    ended = threading.Event()
    backend.before_step = lambda _: ended.wait(0.01)  # a step takes a while, as a real one does
    long = [
        engine.submit(request(seeds=range(1, 4), steps=10_000), deadline_s=WAIT_S),
        engine.submit(request(seeds=(10,), steps=10_000, side=128), deadline_s=WAIT_S),
    ]
    assert engine.submit(request(seeds=(20,), steps=2), deadline_s=WAIT_S).answer.result(WAIT_S).adverts
    assert not any(job.answer.done() for job in long)
    for job in long:
        job.end(Draining("enough"))
    ended.set()
    engine.drain()


def test_full_queue_refuses_and_admitted_requests_end(backend: PlainBackend):
    engine = Engine(backend, queue=2, max_batch=1)
    backend.gate.clear()
    in_progress = threading.Event()
    jobs = [engine.submit(request(), deadline_s=WAIT_S, on_progress=lambda _: in_progress.set())]
    backend.gate.set()
    in_progress.wait(WAIT_S)
    backend.gate.clear()
    while len(jobs) < 20:
        try:
            jobs.append(engine.submit(request(steps=1), deadline_s=WAIT_S))
        except Overloaded as refused:
            assert refused.retry_after
            break
    backend.gate.set()
    assert len(jobs) < 20
    assert all(job.answer.result(WAIT_S).adverts for job in jobs)
    engine.drain()


def test_deadline_ends_request_between_two_steps(engine: Engine[PlainPass], backend: PlainBackend):
    job = engine.submit(request(), deadline_s=0.2)
    backend.before_step = lambda _: threading.Event().wait(job.deadline - time.monotonic())
    with pytest.raises(DeadlineExceeded, match="INPAINT_DEADLINE_S"):
        job.answer.result(WAIT_S)
    assert len(backend.batches) <= 2
    backend.before_step = lambda _: None
    assert engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S).adverts


def test_ended_request_takes_no_further_step(engine: Engine[PlainPass], backend: PlainBackend):
    backend.gate.clear()
    job = engine.submit(request(steps=10_000), deadline_s=WAIT_S)
    job.end(Draining("gone"))
    backend.gate.set()
    with pytest.raises(Draining, match="gone"):
        job.answer.result(WAIT_S)
    assert len(backend.batches) <= 1


def test_out_of_memory_halves_batch_of_passes(backend: PlainBackend):
    def fits_two(batch: Sequence[PlainPass]) -> None:
        if len(batch) > 2:
            raise OutOfMemory("too many")

    backend.before_step = fits_two
    engine = Engine(backend, queue=2, max_batch=4)
    backend.gate.clear()
    job = engine.submit(request(seeds=(1, 2, 3, 4)), deadline_s=WAIT_S)
    backend.gate.set()
    assert len(job.answer.result(WAIT_S).adverts) == 4
    engine.drain()


def test_out_of_memory_with_one_picture_fails_only_its_request(engine: Engine[PlainPass], backend: PlainBackend):
    def run_out(_: Sequence[PlainPass]) -> None:
        raise OutOfMemory("make it smaller")

    backend.before_step = run_out
    with pytest.raises(OutOfMemory, match="make it smaller"):
        engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    backend.before_step = lambda _: None
    assert engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S).adverts


def test_internal_error_reveals_nothing(engine: Engine[PlainPass], backend: PlainBackend):
    def secret(_: Sequence[PlainPass]) -> None:
        raise RuntimeError("/root/secret")

    backend.before_step = secret
    with pytest.raises(Internal) as raised:
        engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert "secret" not in raised.value.message


def test_empty_mask_is_invalid_request(engine: Engine[PlainPass]):
    empty = ProductMask(frozen_array(np.zeros((90, 60), np.uint8)))
    with pytest.raises(InvalidRequest, match="mask is empty"):
        engine.submit(replace(request(), mask=empty), deadline_s=WAIT_S).answer.result(WAIT_S)


def test_drain_finishes_admitted_requests_and_refuses_new_ones(backend: PlainBackend):
    engine = Engine(backend, queue=2, max_batch=4)
    backend.gate.clear()
    job = engine.submit(request(), deadline_s=WAIT_S)
    draining = threading.Thread(target=engine.drain)
    draining.start()
    while True:
        try:
            engine.submit(request(), deadline_s=WAIT_S)
        except (Draining, Overloaded) as refused:
            if isinstance(refused, Draining):
                break
    backend.gate.set()
    draining.join(WAIT_S)
    assert job.answer.result(WAIT_S).adverts
