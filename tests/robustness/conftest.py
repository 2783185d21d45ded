"""A complete server with a backend of plain colours, its metrics on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.running import Server, free_port


@pytest.fixture(scope="session")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def server(metrics_port: int) -> Iterator[Server]:
    """Supervisor, front door and engine, shared by the tests that leave it unchanged."""
    environment = {
        "INPAINT_METRICS_PORT": str(metrics_port),
        "INPAINT_EMF_NAMESPACE": "adverts",
        "INPAINT_MAX_BODY_MB": "2",
        "INPAINT_QUEUE": "4",
    }
    with Server(environment=environment) as running:
        running.wait_for("serving")
        yield running
        assert running.stop() == 0
        assert running.pids() == []
