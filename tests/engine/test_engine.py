"""The engine through its own door, on a painter of plain colours."""

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
from inpaint_server.domain.request import AdvertRequest, InpaintLayer, Sampling
from inpaint_server.domain.results import Progress
from inpaint_server.engine.device_loop import DeviceLoop
from inpaint_server.engine.engine import Engine
from inpaint_server.engine.work import PassWork, SingleCallWork
from inpaint_server.errors import DeadlineExceeded, Draining, Internal, InvalidRequest, OutOfMemory, Overloaded
from testing.plain_backend import PlainBackend, PlainPass

TEN_STEPS = Sampling(steps=10, guidance_scale=3.0, scheduler="ddim")
WAIT_S = 30


def request(seeds: Sequence[int] = (1,), steps: int = 10, side: int = 64) -> AdvertRequest:
    sampling = replace(TEN_STEPS, steps=steps)
    return AdvertRequest(
        task="advert",
        photo=Pixels(frozen_array(np.full((90, 60, 3), 200, np.uint8))),
        mask=None,
        points=(),
        box=None,
        background_prompt="beach",
        negative_prompt="",
        layers=(
            InpaintLayer(region="lower", prompt="sand", negative_prompt=""),
            InpaintLayer(region="upper", prompt="beach", negative_prompt=""),
        ),
        canvas=Size(height=side, width=side),
        model_size=Size(height=side, width=side),
        placement="random",
        seeds=tuple(seeds),
        background_sampling=sampling,
        pass_sampling=sampling,
        feather=1,
        shadow=0.0,
        reflection=0.0,
        light_match=0.0,
        candidates=1,
        output_format="png",
        return_layers=False,
    )


@pytest.fixture
def painter() -> PlainBackend:
    return PlainBackend()


@pytest.fixture
def engine(painter: PlainBackend):
    engine = Engine(painter, queue=2, max_batch=4)
    yield engine
    painter.gate.set()
    engine.drain()


def test_an_advert_has_its_background_then_its_layers_in_order(engine: Engine[PlainPass]):
    seen: list[Progress] = []
    answer = engine.submit(request(), deadline_s=WAIT_S, on_progress=seen.append).answer.result(WAIT_S)
    assert [(step.stage, step.step) for step in seen] == [
        (stage, step) for stage in ("background", "pass 1", "pass 2") for step in range(1, 11)
    ]
    assert [advert.seed for advert in answer.adverts] == [1]
    assert len(answer.timings.passes) == 2


def test_a_listener_that_fails_costs_its_own_request_and_no_other(engine: Engine[PlainPass], painter: PlainBackend):
    def listen(_: Progress) -> None:
        raise RuntimeError("the bar is broken")

    painter.gate.clear()
    broken = engine.submit(request(), deadline_s=WAIT_S, on_progress=listen)
    other = engine.submit(request(seeds=(5,)), deadline_s=WAIT_S)
    painter.gate.set()
    assert isinstance(broken.answer.exception(WAIT_S), Internal)
    assert [advert.seed for advert in other.answer.result(WAIT_S).adverts] == [5]


def test_only_once_nothing_is_under_way_any_more_the_engine_is_at_rest(painter: PlainBackend):
    painter.gate.clear()
    seen: list[int] = []
    at_rest = threading.Event()

    def rest() -> None:
        seen.append(len(painter.batches))
        at_rest.set()

    engine = Engine(painter, queue=8, max_batch=4, at_rest=rest)
    jobs = [engine.submit(request(seeds=(seed, seed + 1)), deadline_s=WAIT_S) for seed in (1, 5)]
    painter.gate.set()
    for job in jobs:
        job.answer.result(WAIT_S)
    assert at_rest.wait(WAIT_S)
    assert seen == [len(painter.batches)], "once, and after the last step"
    engine.drain()


def background(seed: int, steps: int, side: int = 64) -> PassWork[PlainPass]:
    """A pass as the device loop gets it."""
    ask = Generate(
        prompt="beach",
        negative_prompt="",
        size=Size(height=side, width=side),
        sampling=replace(TEN_STEPS, steps=steps),
        noise_seed=seed,
    )
    return PassWork(ask=ask, stop=lambda: None, on_step=lambda _step, _steps: None)


def photo_to_segment() -> SingleCallWork:
    photo = Pixels(frozen_array(np.full((90, 60, 3), 200, np.uint8)))
    return SingleCallWork(ask=Segment(photo=photo, points=(), box=None), stop=lambda: None)


def do_together(
    painter: PlainBackend, works: Sequence[PassWork[PlainPass] | SingleCallWork], *, max_batch: int
) -> None:
    """Have works done that wait together; those that fail are left to be looked at."""
    device = DeviceLoop(painter, max_batch=max_batch)
    submit_all(device, works)
    device.start()
    for work in works:
        work.future.exception(WAIT_S)
    device.stop()


def submit_all(device: DeviceLoop[PlainPass], works: Sequence[PassWork[PlainPass] | SingleCallWork]) -> None:
    for work in works:
        device.submit(work)


def batches_of_three(painter: PlainBackend, *, max_batch: int) -> list[list[int]]:
    """The batches in which three passes of two steps are painted that wait together."""
    do_together(painter, [background(seed, steps=2) for seed in (1, 2, 3)], max_batch=max_batch)
    return painter.batches


def test_passes_that_wait_together_share_their_steps(painter: PlainBackend):
    assert batches_of_three(painter, max_batch=4) == [[1, 2, 3], [1, 2, 3]]


def test_a_batch_is_never_larger_than_allowed(painter: PlainBackend):
    assert [len(batch) for batch in batches_of_three(painter, max_batch=2)] == [2, 2, 2]


def test_a_batch_is_never_larger_than_what_memory_was_measured_to_hold(painter: PlainBackend):
    painter.fitting = 1
    assert [len(batch) for batch in batches_of_three(painter, max_batch=4)] == [1] * 6


def test_works_that_wait_together_are_segmented_begun_and_finished_together(painter: PlainBackend):
    works = [*(photo_to_segment() for _ in range(3)), *(background(seed, steps=2) for seed in (1, 2, 3))]
    do_together(painter, works, max_batch=6)
    assert painter.calls == [("segment", 3), ("begin", 3), ("finish", 3)]


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_out_of_memory_halves_every_kind_of_call(painter: PlainBackend, name: str):
    def room_for_one(called: str, count: int) -> None:
        if called == name and count > 1:
            raise OutOfMemory("too many")

    painter.before_call = room_for_one
    works = [*(photo_to_segment() for _ in range(3)), *(background(seed, steps=2) for seed in (1, 2, 3))]
    do_together(painter, works, max_batch=6)
    assert [work.future.exception() for work in works] == [None] * 6
    assert painter.calls.count((name, 1)) == 3


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_a_work_that_cannot_be_done_harms_no_other_it_was_batched_with(painter: PlainBackend, name: str):
    bad = iter([True, True, False, False])

    def damaged(called: str, _: int) -> None:
        if called == name and next(bad):
            raise ValueError("cannot be read")

    painter.before_call = damaged
    works = [photo_to_segment() if name == "segment" else background(seed, steps=2) for seed in (1, 2, 3)]
    do_together(painter, works, max_batch=4)
    assert [isinstance(work.future.exception(), ValueError) for work in works] == [True, False, False]


def test_a_step_that_fails_is_not_made_twice(painter: PlainBackend):
    def fails(batch: Sequence[PlainPass]) -> None:
        raise ValueError(f"{len(batch)} passes")

    painter.before_step = fails
    works = [background(seed, steps=2) for seed in (1, 2)]
    do_together(painter, works, max_batch=4)
    assert [str(work.future.exception()) for work in works] == ["2 passes"] * 2


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_only_who_fits_alone_neither_is_told_of_memory(painter: PlainBackend, name: str):
    refused = iter([True, True, False, False])

    def no_room(called: str, _: int) -> None:
        if called == name and next(refused):
            raise OutOfMemory("make it smaller")

    painter.before_call = no_room
    works = [photo_to_segment() if name == "segment" else background(seed, steps=2) for seed in (1, 2, 3)]
    do_together(painter, works, max_batch=4)
    assert [isinstance(work.future.exception(), OutOfMemory) for work in works] == [True, False, False]


def all_gone(held: Sequence[weakref.ref[Any]]) -> bool:
    """Whether nothing is alive any more, once the threads have come to rest."""
    until = time.monotonic() + WAIT_S
    while any(one() is not None for one in held) and time.monotonic() < until:
        gc.collect()
    return all(one() is None for one in held)


def test_nothing_of_a_work_is_held_while_the_device_waits_for_the_next(painter: PlainBackend):
    device = DeviceLoop(painter, max_batch=4)
    device.start()
    works = [photo_to_segment(), background(1, steps=2), background(2, steps=3)]
    submit_all(device, works)
    held = [weakref.ref(work.future) for work in works]
    assert all(work.future.exception(WAIT_S) is None for work in works)
    works.clear()
    assert all_gone(held)
    device.stop()


@pytest.mark.parametrize("name", ["segment", "begin", "finish"])
def test_what_a_failed_call_held_is_let_go_of_though_its_error_is_kept(painter: PlainBackend, name: str):
    held: list[weakref.ref[Any]] = []

    def no_room(called: str, _: int) -> None:
        if called == name:
            activations = np.zeros(1000)
            held.append(weakref.ref(activations))
            raise OutOfMemory("make it smaller")

    painter.before_call = no_room
    work = photo_to_segment() if name == "segment" else background(1, steps=1)
    do_together(painter, [work], max_batch=4)
    assert isinstance(work.future.exception(), OutOfMemory)
    assert [one() for one in held] == [None]


def test_nothing_of_a_request_is_held_once_it_is_answered(engine: Engine[PlainPass], painter: PlainBackend):
    def fail(called: str, _: int) -> None:
        if called == "finish":
            raise OutOfMemory("make it smaller")

    held: list[weakref.ref[Any]] = []
    for hook in (painter.before_call, fail):
        painter.before_call = hook
        job = engine.submit(request(), deadline_s=WAIT_S)
        held += [weakref.ref(job.answer), weakref.ref(job.product)]
        job.answer.exception(WAIT_S)
        del job
    assert all_gone(held)


def test_each_picture_is_the_same_alone_and_beside_others(engine: Engine[PlainPass]):
    together = engine.submit(request(seeds=(5, 6)), deadline_s=WAIT_S).answer.result(WAIT_S)
    for advert in together.adverts:
        alone = engine.submit(request(seeds=(advert.seed,)), deadline_s=WAIT_S).answer.result(WAIT_S)
        assert np.array_equal(alone.adverts[0].picture, advert.picture)


def test_a_short_pass_beside_a_long_one_ends_first(painter: PlainBackend):
    device = DeviceLoop(painter, max_batch=4)
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
    assert painter.batches[:4] == [[1], [2], [1], [2]]


def test_a_short_request_beside_long_ones_ends_first(painter: PlainBackend):
    """Though the long ones came first, fill a whole batch, and one of them is painted at another size."""
    engine = Engine(painter, queue=3, max_batch=4)
    ended = threading.Event()
    painter.before_step = lambda _: ended.wait(0.01)  # a step takes a while, as a real one does
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


def test_a_full_line_refuses_and_what_was_admitted_still_ends(painter: PlainBackend):
    engine = Engine(painter, queue=2, max_batch=1)
    painter.gate.clear()
    under_way = threading.Event()
    jobs = [engine.submit(request(), deadline_s=WAIT_S, on_progress=lambda _: under_way.set())]
    painter.gate.set()
    under_way.wait(WAIT_S)
    painter.gate.clear()
    while len(jobs) < 20:
        try:
            jobs.append(engine.submit(request(steps=1), deadline_s=WAIT_S))
        except Overloaded as refused:
            assert refused.retry_after
            break
    painter.gate.set()
    assert len(jobs) < 20
    assert all(job.answer.result(WAIT_S).adverts for job in jobs)
    engine.drain()


def test_past_its_deadline_a_request_ends_between_two_steps_and_the_device_is_free(
    engine: Engine[PlainPass], painter: PlainBackend
):
    job = engine.submit(request(), deadline_s=0.2)
    painter.before_step = lambda _: threading.Event().wait(job.deadline - time.monotonic())
    with pytest.raises(DeadlineExceeded, match="INPAINT_DEADLINE_S"):
        job.answer.result(WAIT_S)
    assert len(painter.batches) <= 2
    painter.before_step = lambda _: None
    assert engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S).adverts


def test_a_request_that_was_ended_stops_costing_steps(engine: Engine[PlainPass], painter: PlainBackend):
    painter.gate.clear()
    job = engine.submit(request(steps=10_000), deadline_s=WAIT_S)
    job.end(Draining("gone"))
    painter.gate.set()
    with pytest.raises(Draining, match="gone"):
        job.answer.result(WAIT_S)
    assert len(painter.batches) <= 1


def test_out_of_memory_halves_the_batch_until_it_fits(painter: PlainBackend):
    def room_for_two(batch: Sequence[PlainPass]) -> None:
        if len(batch) > 2:
            raise OutOfMemory("too many")

    painter.before_step = room_for_two
    engine = Engine(painter, queue=2, max_batch=4)
    painter.gate.clear()
    job = engine.submit(request(seeds=(1, 2, 3, 4)), deadline_s=WAIT_S)
    painter.gate.set()
    assert len(job.answer.result(WAIT_S).adverts) == 4
    engine.drain()


def test_out_of_memory_with_one_picture_is_told_and_the_next_request_is_served(
    engine: Engine[PlainPass], painter: PlainBackend
):
    def no_room(_: Sequence[PlainPass]) -> None:
        raise OutOfMemory("make it smaller")

    painter.before_step = no_room
    with pytest.raises(OutOfMemory, match="make it smaller"):
        engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    painter.before_step = lambda _: None
    assert engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S).adverts


def test_a_failure_of_ours_says_nothing_of_what_happened_inside(engine: Engine[PlainPass], painter: PlainBackend):
    def secret(_: Sequence[PlainPass]) -> None:
        raise RuntimeError("/root/secret")

    painter.before_step = secret
    with pytest.raises(Internal) as told:
        engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert "secret" not in told.value.message


def test_nothing_segmented_is_the_callers_to_change_and_ends_the_background_too(engine: Engine[PlainPass]):
    empty = ProductMask(frozen_array(np.zeros((90, 60), np.uint8)))
    with pytest.raises(InvalidRequest, match="points"):
        engine.submit(replace(request(), mask=empty), deadline_s=WAIT_S).answer.result(WAIT_S)


def test_draining_finishes_what_was_admitted_and_refuses_the_rest(painter: PlainBackend):
    engine = Engine(painter, queue=2, max_batch=4)
    painter.gate.clear()
    job = engine.submit(request(), deadline_s=WAIT_S)
    draining = threading.Thread(target=engine.drain)
    draining.start()
    while True:
        try:
            engine.submit(request(), deadline_s=WAIT_S)
        except (Draining, Overloaded) as refused:
            if isinstance(refused, Draining):
                break
    painter.gate.set()
    draining.join(WAIT_S)
    assert job.answer.result(WAIT_S).adverts
