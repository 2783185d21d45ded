"""Set-up of all tests, and the servers that several folders use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inpaint_server.settings import let_waiting_threads_sleep
from testing.plain_server import PlainServer
from testing.running import Server, free_port

# Before any test module imports torch: its threads must not spin on the cores that servers under test need.
let_waiting_threads_sleep()


@pytest.fixture(scope="session")
def real_server() -> Iterator[Server]:
    """`inpaint-server serve --bundle demo`, as the README starts it."""
    port = free_port()
    script = str(Path(sys.executable).with_name("inpaint-server"))
    command = [script, "serve", "--bundle", "demo", "--port", str(port)]
    with Server(command=command, port=port, environment={"INPAINT_PROVENANCE": "full"}) as running:
        running.wait_for("serving", 240)
        yield running
        assert running.stop() == 0
        assert running.pids() == []


@pytest.fixture
def plain_server() -> Iterator[PlainServer]:
    """The engine's application with a backend of plain colours: the whole wire, in milliseconds."""
    with PlainServer() as running:
        yield running
