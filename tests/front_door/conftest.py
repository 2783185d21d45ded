"""Fixtures of the serving tests: one running front door for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.running import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A front door before the stand-in engine, shared by a module's tests."""
    with Server(environment={"INPAINT_REVISION": "66e5ef0b075e"}) as running:
        running.wait_for("serving")
        yield running
        assert running.stop() == 0
        assert running.pids() == []
