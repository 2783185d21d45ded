"""Too much, too long, too large: what a caller is told, and that the next one is served by the same process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from itertools import islice

import pytest

from inpaint_server.errors import OutOfMemory
from testing.plain_app import WAIT_S, Plain, plain, until
from testing.plain_backend import PlainPass
from testing.traffic import advert, wrong


def good(plain: Plain, seed: int = 3) -> bool:
    """Whether a small advert is answered with its own seed."""
    reply = plain.invoke(advert(seed).body)
    return reply.status_code == 200 and reply.json()["images"][0]["seed"] == seed


class Held:
    """A hook that stops the device at its next step until it is let go."""

    def __init__(self, plain: Plain) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        plain.painter.before_step = self._stop

    def _stop(self, _: Sequence[PlainPass]) -> None:
        self.reached.set()
        self._open.wait(WAIT_S)

    def let_go(self) -> None:
        self._open.set()


def test_beyond_the_queue_callers_are_told_when_to_come_back_and_the_others_are_served():
    with plain(queue=2, max_batch=1) as app, ThreadPoolExecutor(16) as pool:
        held = Held(app)
        replies = [pool.submit(app.invoke, advert(0).body)]
        held.reached.wait(WAIT_S)
        replies += [pool.submit(app.invoke, advert(seed).body) for seed in range(1, 16)]
        refused = list(islice(as_completed(replies), 12))  # one runs, one may have started, two wait
        assert len(refused) == 12
        held.let_go()
        told = [reply.result() for reply in replies]
    assert {reply.status_code for reply in told} == {200, 503}
    for seed, reply in enumerate(told):
        if reply.status_code == 503:
            assert reply.json()["error"]["code"] == "overloaded"
            assert int(reply.headers["retry-after"]) > 0
        else:
            assert reply.json()["images"][0]["seed"] == seed


def test_when_the_queue_is_full_nothing_is_decoded_to_find_out():
    with plain(queue=1, max_batch=1) as app, ThreadPoolExecutor(8) as pool:
        held = Held(app)
        running = [pool.submit(app.invoke, advert(seed).body) for seed in range(8)]
        until(lambda: app.figure("inpaint_waiting") == 1)
        assert app.invoke(wrong(1).body).status_code == 503
        held.let_go()
        wait(running)
        assert app.invoke(wrong(1).body).status_code == 400


def test_past_the_deadline_the_device_is_free_and_the_next_request_is_served():
    with plain(deadline_s=0.3) as app:
        held = Held(app)
        late = app.invoke(advert(1, steps=250).body)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        held.let_go()
        app.painter.before_step = lambda _: None
        steps = len(app.painter.batches)
        assert good(app)
        assert len(app.painter.batches) - steps < 10, "nothing was painted any more for the one that was late"


def test_after_an_out_of_memory_the_same_process_serves_the_next_request():
    with plain() as app:

        def no_room(_: Sequence[PlainPass]) -> None:
            raise OutOfMemory("Ask for a smaller picture: the device's memory does not hold this one.")

        app.painter.before_step = no_room
        full = app.invoke(advert(1).body)
        assert (full.status_code, full.json()["error"]["code"]) == (507, "out_of_memory")
        app.painter.before_step = lambda _: None
        assert app.client.get("/ping").status_code == 200
        assert good(app)


def test_four_pictures_that_do_not_fit_together_are_painted_one_by_one():
    with plain(max_batch=4) as app:

        def room_for_one(batch: Sequence[PlainPass]) -> None:
            if len(batch) > 1:
                raise OutOfMemory("too many")

        app.painter.before_step = room_for_one
        reply = app.invoke(advert(1, num_images=4).body)
        assert [image["seed"] for image in reply.json()["images"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("failure", [RuntimeError("/root/secret"), MemoryError(), ValueError("boom")])
def test_a_failure_inside_is_a_500_that_tells_nothing_of_it_and_costs_no_one_else(failure: Exception):
    with plain() as app:

        def fail(_: Sequence[PlainPass]) -> None:
            raise failure

        app.painter.before_step = fail
        failed = app.invoke(advert(1).body)
        error = failed.json()["error"]
        assert (failed.status_code, error["code"]) == (500, "internal")
        assert error["request_id"] == failed.headers["x-request-id"]
        assert not {"secret", "boom", "Traceback"} & set(failed.text.split())
        app.painter.before_step = lambda _: None
        assert good(app)
