"""One running front door for the tests that leave it unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.running import ECHO_ENGINE, Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A front door before an engine that answers with what it received, shared by a module's tests."""
    with Server(ECHO_ENGINE, environment={"INPAINT_REVISION": "66e5ef0b075e"}) as running:
        running.wait_for("serving")
        yield running
        assert running.stop() == 0
        assert running.pids() == []
