"""Full queue, deadline, memory, failures: the errors, and that the same process answers the next request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from itertools import islice

import httpx
import pytest

from inpaint_server.errors import OutOfMemory
from testing.plain_backend import PlainPass
from testing.plain_server import TIMEOUT_S, PlainServer, wait_until
from testing.traffic import advert, invalid


def serves(server: PlainServer, seed: int = 3) -> bool:
    """Whether a small advert is answered with its own seed."""
    reply = server.invoke(advert(seed).body)
    return reply.status_code == 200 and reply.json()["images"][0]["seed"] == seed


class HeldStep:
    """A hook that holds the device at its next step until it is released."""

    def __init__(self, server: PlainServer) -> None:
        self.reached, self._released = threading.Event(), threading.Event()
        server.backend.before_step = self._hold

    def _hold(self, _: Sequence[PlainPass]) -> None:
        self.reached.set()
        self._released.wait(TIMEOUT_S)

    def release(self) -> None:
        self._released.set()


def test_full_queue_answers_503_and_serves_rest():
    with PlainServer(queue=2, max_batch=1) as server, ThreadPoolExecutor(16) as pool:
        held = HeldStep(server)
        replies = [pool.submit(server.invoke, advert(0).body)]
        held.reached.wait(TIMEOUT_S)
        replies += [pool.submit(server.invoke, advert(seed).body) for seed in range(1, 16)]
        refused = list(islice(as_completed(replies), 12))  # one runs, one may have started, two wait
        assert len(refused) == 12
        held.release()
        results = [reply.result() for reply in replies]
    assert {reply.status_code for reply in results} == {200, 503}
    for seed, reply in enumerate(results):
        if reply.status_code == 503:
            assert reply.json()["error"]["code"] == "overloaded"
            assert int(reply.headers["retry-after"]) > 0
        else:
            assert reply.json()["images"][0]["seed"] == seed


def test_full_queue_refuses_before_decoding():
    with PlainServer(queue=1, max_batch=1) as server, ThreadPoolExecutor(8) as pool:
        held = HeldStep(server)
        running: list[Future[httpx.Response]] = []

        def refuses() -> bool:
            running.append(pool.submit(server.invoke, advert(len(running)).body))
            return server.invoke(invalid(1).body).status_code == 503

        wait_until(refuses)
        held.release()
        wait(running)
        assert server.invoke(invalid(1).body).status_code == 400


def test_deadline_frees_device():
    with PlainServer(deadline_s=0.3) as server:
        held = HeldStep(server)
        late = server.invoke(advert(1, steps=250).body)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        held.release()
        server.backend.before_step = lambda _: None
        steps = len(server.backend.batches)
        assert serves(server)
        assert len(server.backend.batches) - steps < 10, "no step was spent on the late request"


def test_huge_request_neither_starves_others_nor_outlives_its_deadline():
    layers = [{"region": [i / 8, (i + 1) / 8], "prompt": f"layer {i}"} for i in range(8)]
    fields = {"num_images": 8, "candidates": 8, "width": 2048, "height": 2048, "steps": 250, "layers": layers}
    with PlainServer(max_canvas_megapixels=2200, deadline_s=12) as server, ThreadPoolExecutor(1) as pool:
        caller = pool.submit(server.invoke, advert(1, **fields).body)
        wait_until(lambda: bool(server.backend.batches))
        assert serves(server)
        assert not caller.done()
        assert (caller.result().status_code, caller.result().json()["error"]["code"]) == (504, "deadline_exceeded")
        wait_until(lambda: server.metric("inpaint_in_flight") == 0)
        assert serves(server)


def test_out_of_memory_is_507_and_next_request_served():
    with PlainServer() as server:

        def out_of_memory(_: Sequence[PlainPass]) -> None:
            raise OutOfMemory("Reduce width and height: the device's memory is too small.")

        server.backend.before_step = out_of_memory
        full = server.invoke(advert(1).body)
        assert (full.status_code, full.json()["error"]["code"]) == (507, "out_of_memory")
        server.backend.before_step = lambda _: None
        assert server.client.get("/ping").status_code == 200
        assert serves(server)


def test_batch_beyond_memory_halved_to_single_pictures():
    with PlainServer(max_batch=4) as server:

        def allow_one(batch: Sequence[PlainPass]) -> None:
            if len(batch) > 1:
                raise OutOfMemory("too many")

        server.backend.before_step = allow_one
        reply = server.invoke(advert(1, num_images=4).body)
        assert [image["seed"] for image in reply.json()["images"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("failure", [RuntimeError("/root/secret"), MemoryError(), ValueError("boom")])
def test_internal_failure_is_500_without_its_cause(failure: Exception):
    with PlainServer() as server:

        def fail(_: Sequence[PlainPass]) -> None:
            raise failure

        server.backend.before_step = fail
        failed = server.invoke(advert(1).body)
        error = failed.json()["error"]
        assert (failed.status_code, error["code"]) == (500, "internal")
        assert error["request_id"] == failed.headers["x-request-id"]
        assert not {"secret", "boom", "Traceback"} & set(failed.text.split())
        server.backend.before_step = lambda _: None
        assert serves(server)
