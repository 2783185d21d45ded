"""What holds for every test, and the servers that more than one area asks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inpaint_server.settings import let_waiting_threads_sleep
from testing.quick_server import QuickServer
from testing.running import Server, free_port

# Before any test module imports torch: its threads must not spin on the cores that servers under test need.
let_waiting_threads_sleep()


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


@pytest.fixture
def quick_server() -> Iterator[QuickServer]:
    """The engine's own app before a painter of plain colours: every word of the wire, in milliseconds."""
    with QuickServer() as running:
        yield running
