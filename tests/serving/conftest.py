"""Fixtures of the serving tests: one running front door for the tests that leave it as they found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running import Server, free_port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A front door before the stand-in engine, shared by a module's tests."""
    with Server(environment={"INPAINT_REVISION": "66e5ef0b075e"}) as running:
        running.wait_for("serving")
        yield running
        assert running.stop() == 0
        assert running.pids() == []


@pytest.fixture(scope="session")
def real_server() -> Iterator[Server]:
    """`inpaint-server serve --bundle demo`, as the README starts it."""
    port = free_port()
    script = str(Path(sys.executable).with_name("inpaint-server"))
    with Server(command=[script, "serve", "--bundle", "demo", "--port", str(port)], port=port) as running:
        running.wait_for("serving", 240)
        yield running
        assert running.stop() == 0
        assert running.pids() == []
