"""A server of ours or of others for the time of a measurement: started, waited for, watched, stopped."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx

OUT: Final = Path("out") / "bench"
PROGRAM: Final = (sys.executable, "-c", "from inpaint_server.cli import main; main()")
"""`inpaint-server`, also from a checkout that is not installed."""
_START_TIMEOUT_S: Final = 300.0
_PATIENT: Final = {"INPAINT_DEADLINE_S": "600"}
"""On a busy machine a request is slow; that is to be measured, not refused."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Server:
    """A server that answers.

    Attributes:
        url: Where.
        process: What was started; it may have children.
        log: Its output.
        begun: When it was started, on the clock of `time.perf_counter`.
        ready_s: Seconds from there to the first ping that was answered 200.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    begun: float
    ready_s: float = 0.0

    def resident_bytes(self) -> int:
        """What the process itself holds in memory, mapped files included."""
        return memory_of(self.process.pid)["VmRSS"]


@contextmanager
def ours(*flags: str, bundle: str = "demo", **environment: str) -> Generator[Server]:
    """`inpaint-server serve`, ready."""
    port = free_port()
    command = [*PROGRAM, "serve", "--bundle", bundle, "--port", str(port), *flags]
    with started(command, port, _PATIENT | environment, name="-".join(["ours", *flags]).replace("--", "")) as server:
        yield replace(server, ready_s=wait_until_ready(server))


@contextmanager
def started(command: Sequence[str], port: int, environment: Mapping[str, str], *, name: str) -> Generator[Server]:
    """Any server's process, its output in a file, stopped at the end with whatever it started."""
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / f"{name}.log"
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - commands of our own, no shell
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},  # noqa: TID251 - children inherit the environment as it is
            start_new_session=True,
        )
        try:
            yield Server(url=f"http://127.0.0.1:{port}", process=process, log=log, begun=begun)
        finally:
            _stop(process)


def wait_until_ready(server: Server, path: str = "/ping") -> float:
    """Ask until the answer is 200; the seconds since the start.

    Raises:
        SystemExit: it ended, or was not ready in time.
    """
    deadline = server.begun + _START_TIMEOUT_S
    with httpx.Client(base_url=server.url, timeout=5) as client:
        while time.perf_counter() < deadline:
            with suppress(httpx.TransportError):
                if client.get(path).is_success:
                    return time.perf_counter() - server.begun
            with suppress(subprocess.TimeoutExpired):
                raise SystemExit(f"A server ended with code {server.process.wait(timeout=0.05)}: see {server.log}.")
    raise SystemExit(f"A server was not ready within {_START_TIMEOUT_S:.0f} s: see {server.log}.")


def memory_of(pid: int) -> dict[str, int]:
    """The kernel's own figures of one process, bytes: `VmRSS` now, `VmHWM` at most, and others."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def free_port() -> int:
    """A port the front door accepts (below 32767) that nobody has; drawn, so that two runs do not take the same one."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Politely, then with its whole session."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=40)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
