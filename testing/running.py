"""A server started as an operator starts one, observed through its port, its log and the kernel; never by sleeping."""

from __future__ import annotations

import http.client
import json
import os
import queue
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testing.traffic import SampleRequest

ROOT = Path(__file__).parents[1]
PLAIN_ENGINE = [sys.executable, "-m", "testing.plain_engine"]
ECHO_ENGINE = [sys.executable, "-m", "testing.echo_engine"]
_RUN_DIRECT = """
from inpaint_server.server import process
from inpaint_server.settings import read
from testing.plain_engine import load
process.end(process.run(read(), loading=load))
"""
DIRECT_PLAIN_ENGINE = [sys.executable, "-c", _RUN_DIRECT]
"""A server's whole command: the plain engine straight on the port, without Java."""
_ENDED: dict[str, Any] = {}
RUN = """
import json, sys
from inpaint_server import settings
from inpaint_server.front_door import supervisor
from inpaint_server.front_door.timeouts import SupervisorTimeouts
timeouts = SupervisorTimeouts(**json.loads(sys.argv[1]))
raise SystemExit(supervisor.run(settings.read(), engine_command=sys.argv[2:], timeouts=timeouts))
"""


def free_port() -> int:
    """A free port, below the kernel's own range and the front door's highest."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gate:
    """A named pipe that holds the first thread of a process that comes to it until the test opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._end: int | None = None

    def wait_for_arrival(self) -> None:
        """Wait until a thread is held; threads that come later pass."""
        self._end = os.open(self.path, os.O_WRONLY)
        self.path.unlink()

    def open(self) -> None:
        """Let the held thread go on."""
        if self._end is None:
            self.wait_for_arrival()
        assert self._end is not None
        os.close(self._end)
        self._end = None


class Server:
    """A running server.

    Args:
        engine: The engine's command.
        environment: Variables on top of the test's own.
        timeouts: Fields of `SupervisorTimeouts`; default: an endpoint's.
        command: A whole command line, in place of engine and timeouts.
        port: The public port; default: a free one.
    """

    def __init__(
        self,
        engine: Sequence[str] = PLAIN_ENGINE,
        environment: dict[str, str] | None = None,
        timeouts: dict[str, float] | None = None,
        command: Sequence[str] | None = None,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self._marker = f"TEST_SERVER={uuid.uuid4()}"
        name, value = self._marker.split("=")
        variables = {
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "INPAINT_QUEUE": "8",
            "INPAINT_MAX_BATCH": "2",
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            name: value,
        }
        self._temp = tempfile.TemporaryDirectory(prefix="serving-")  # short: a socket's path has 107 characters
        variables["TMPDIR"] = self._temp.name
        self.process = subprocess.Popen(
            command or [sys.executable, "-c", RUN, json.dumps(timeouts or {}), *engine],
            env={**os.environ, **variables, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("{"):
                self._events.put(json.loads(line))
        self._events.put(_ENDED)

    def wait_for(self, event: str, seconds: float = 150, **fields: object) -> dict[str, Any]:
        """The next line of the log with this `event` and these fields."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._events.get(timeout=end - time.monotonic())
            except (queue.Empty, ValueError):
                raise AssertionError(f"no {event!r} in:\n{''.join(self.lines)}") from None
            if line is _ENDED:
                self._events.put(_ENDED)
                raise AssertionError(f"ended without {event!r}:\n{''.join(self.lines)}")
            if line.get("event") == event and fields.items() <= line.items():
                return line

    def events(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The lines of the log so far with this `event` and these fields."""
        logged = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [line for line in logged if line.get("event") == event and fields.items() <= line.items()]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)  # beyond any deadline
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def send(self, sample: SampleRequest) -> Reply:
        """POST /invocations."""
        return self.request("POST", "/invocations", sample.body, sample.headers)

    def invoke(self, body: bytes, content_type: str = "application/json", **attributes: object) -> Reply:
        """POST /invocations, with custom attributes as JSON."""
        headers = {"Content-Type": content_type}
        if attributes:
            headers["X-Amzn-SageMaker-Custom-Attributes"] = json.dumps(attributes)
        return self.request("POST", "/invocations", body, headers)

    def ping(self) -> int | None:
        """The status of /ping; None: nothing listens."""
        try:
            return self.request("GET", "/ping").status
        except ConnectionRefusedError:
            return None

    def pids(self, text: str = "") -> list[int]:
        """Every process of this server, anywhere in the process tree, whose command line contains `text`."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._is_own(int(path.name), text)]

    def kill_engine(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the engine's process a signal."""
        [engine] = self.pids("plain_engine --uds")
        os.kill(engine, number)

    def parent_of_workers(self) -> int:
        """The process that the front door's workers are forked from."""
        workers = self.pids("model_service_worker")
        parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in workers}
        return next(pid for pid, parent in parents.items() if parent not in workers)

    def _is_own(self, pid: int, text: str) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            return False
        return self._marker.encode() in environment and text in command and pid != os.getpid()

    def wait_until_gone(self, seconds: float = 10) -> None:
        """Wait until every process of this server has ended."""
        end = time.monotonic() + seconds
        for pid in self.pids():
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            gone, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
            os.close(handle)
            assert gone, Path(f"/proc/{pid}/cmdline").read_text()
        assert self.pids() == []

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        """Send the supervisor a signal; its exit code."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 30) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)
            self.wait_until_gone()
        self._temp.cleanup()
