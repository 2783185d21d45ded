"""A device that fails for good: every caller gets an error at once, and the process can be ended."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from inpaint_server.engine.engine import Engine
from inpaint_server.errors import DeviceFailed
from testing.plain_backend import PlainBackend
from testing.requests import resolved
from testing.running import free_port
from tests.engine.test_engine import WAIT_S, request

PROGRAM = """
import sys
from inpaint_server.errors import DeviceFailed
from inpaint_server.server import process
from inpaint_server.settings import read
from testing.plain_backend import PlainBackend
from testing.plain_server import load_plain

def fail(_):
    raise DeviceFailed("CUDA error: device-side assert triggered")

def load(settings):
    return load_plain(settings, PlainBackend(before_step=fail))

raise SystemExit(process.run(read(port=int(sys.argv[1])), loading=load))
"""


def raising(error: Exception) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise error

    return fail


def test_device_failure_fails_every_request_and_is_reported_once():
    backend, failures = PlainBackend(before_step=raising(DeviceFailed("CUDA error"))), list[str]()
    engine = Engine(backend, queue=8, max_batch=2)
    engine.call_on_device_failure(lambda: failures.append("failed"))
    backend.gate.clear()
    jobs = [engine.submit(request(), deadline_s=WAIT_S) for _ in range(4)]
    backend.gate.set()
    for job in jobs:
        with pytest.raises(DeviceFailed, match="starting again"):
            job.answer.result(WAIT_S)
    with pytest.raises(DeviceFailed):
        engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert failures == ["failed"]


def test_error_of_loop_is_device_failure(monkeypatch: pytest.MonkeyPatch):
    engine = Engine(PlainBackend(), queue=8, max_batch=2)
    monkeypatch.setattr(PlainBackend, "max_passes", raising_capacity)
    jobs = [engine.submit(request(seeds=(1, 2)), deadline_s=WAIT_S) for _ in range(2)]
    for job in jobs:
        with pytest.raises(DeviceFailed):
            job.answer.result(WAIT_S)


def raising_capacity(*_: object) -> int:
    raise RuntimeError("no memory figures")


def test_hanging_model_call_is_device_failure():
    backend, failed = PlainBackend(), threading.Event()
    backend.gate.clear()
    engine = Engine(backend, queue=8, max_batch=2, call_timeout_s=0.2)
    engine.call_on_device_failure(failed.set)
    job = engine.submit(request(), deadline_s=WAIT_S)
    with pytest.raises(DeviceFailed):
        job.answer.result(WAIT_S)
    assert failed.wait(WAIT_S)
    backend.gate.set()


def test_listener_that_comes_late_is_called_at_once():
    engine = Engine(PlainBackend(before_step=raising(DeviceFailed("CUDA error"))), queue=8, max_batch=2)
    engine.submit(request(), deadline_s=WAIT_S).answer.exception(WAIT_S)
    failed = threading.Event()
    engine.call_on_device_failure(failed.set)
    assert failed.wait(WAIT_S)


def test_process_ends_with_code_1_after_device_failure():
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        log = iter(process.stdout)
        assert any("engine_ready" in line for line in log)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations",
            json={"task": "background", "background_prompt": "beach"},
            timeout=WAIT_S,
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        assert "CUDA" not in answer.text
        rest = list(log)
        assert process.wait(WAIT_S) == 1
    assert any("device_failed" in line and "device-side assert" in line for line in rest)


def test_small_request_is_served_beside_large_ones():
    backend, release = PlainBackend(), threading.Event()
    large = resolved(None, task="background", background_prompt="beach", num_images=8, steps=250, seed=1)
    small = resolved(None, task="background", background_prompt="beach", steps=1, seed=99)
    engine = Engine(backend, queue=8, max_batch=4)
    jobs = [engine.submit(large, deadline_s=WAIT_S) for _ in range(4)]
    answered = engine.submit(small, deadline_s=WAIT_S)
    answered.answer.add_done_callback(lambda _: release.set())
    assert release.wait(WAIT_S)
    assert not any(job.answer.done() for job in jobs)
    for job in jobs:
        job.answer.result(WAIT_S)
    engine.drain()
