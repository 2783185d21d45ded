"""`inpaint-server serve --bundle demo` as an operator starts it, and what its processes use."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from testing.running import Server, free_port
from testing.traffic import advert


@contextmanager
def demo_server(**environment: str) -> Generator[Server]:
    """The server, ready; killed at the end if it still runs."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("inpaint-server")), "serve", "--bundle", "demo", "--port", str(port)]
    with Server(command=command, port=port, environment=environment) as server:
        server.wait_for("serving", 300)
        yield server


def private_megabytes(pids: list[int]) -> float:
    """Resident memory of some processes that no file backs: what they allocated; a shared page counts once."""
    kilobytes = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon:"))
    return kilobytes / 1024


def open_files(pids: list[int]) -> int:
    """Open file descriptors of some processes."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def advert_is_good(server: Server) -> None:
    """A good request is answered well."""
    sample = advert(5)
    fault = sample.problem(server.send(sample))
    assert not fault, fault
