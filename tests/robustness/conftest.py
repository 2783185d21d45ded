"""Fixtures of the tests of trust: the whole server on plain colours, its metrics and embedded metrics on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.gated_servers import plain_server
from testing.running import Server, free_port


@pytest.fixture(scope="session")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def server(metrics_port: int) -> Iterator[Server]:
    """Front door, supervisor and the real application on plain colours."""
    with plain_server(
        INPAINT_METRICS_PORT=str(metrics_port),
        INPAINT_EMF_NAMESPACE="adverts",
        INPAINT_MAX_BODY_MB="2",
        INPAINT_QUEUE="4",
    ) as running:
        running.wait_for("serving")
        yield running
        assert running.stop() == 0
        assert running.pids() == []
