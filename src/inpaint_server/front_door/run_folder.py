"""The temporary folder of one running server: where its processes find each other."""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

State = Literal["starting", "ready", "unresponsive", "restarting", "draining"]
Part = Literal["engine", "front door"]

PROBE_HEADER = "x-inpaint-probe"
"""Carries the probe token."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and files that supervisor, front door (its Java plug-in too) and handlers share.

    Args:
        path: The folder; also the front door's temp folder.
    """

    path: Path

    @property
    def socket(self) -> Path:
        """The engine's Unix socket."""
        return self.path / "engine.sock"

    @property
    def management(self) -> Path:
        """The front door's management socket."""
        return self.path / "management.sock"

    @property
    def worker_socket(self) -> Path:
        """The socket on which multi-model-server's first worker accepts connections; it forks a worker for each."""
        return self.path / ".mms.sock.9000"

    @property
    def model(self) -> Path:
        """The empty folder that multi-model-server loads as its model."""
        return self.path / "model"

    @property
    def version(self) -> Path:
        """What the front door's /ping reports beside the state: a JSON object with version and revision."""
        return self.path / "version"

    @property
    def properties(self) -> Path:
        """multi-model-server's configuration."""
        return self.path / "front-door.properties"

    @property
    def restarts(self) -> Path:
        """How often each part was started again: a JSON object, for the engine's metrics."""
        return self.path / "restarts.json"

    @property
    def _disconnected(self) -> Path:
        """The folder in which the front door creates a file for each caller that disconnects before its answer."""
        return self.path / "disconnected"

    def prepare(self) -> None:
        """Fill a new folder: state `starting`, a new probe token, no handler working."""
        self.model.mkdir()
        self._disconnected.mkdir()
        (self.path / "work").touch()
        self._replace(self.restarts, json.dumps(dict.fromkeys(get_args(Part), 0)))
        (self.path / "probe").write_text(secrets.token_hex(16))
        self.write_state("starting")

    def probe_token(self) -> str:
        """The header value that marks the supervisor's probes, which handlers answer themselves."""
        return (self.path / "probe").read_text()

    def state(self) -> str:
        """The state that the supervisor wrote last."""
        return (self.path / "state").read_text()

    def write_state(self, state: State) -> None:
        """Replace the state; readers see the old one or the new one."""
        self._replace(self.path / "state", state)

    def count_restart(self, part: Part) -> None:
        """Count a restart of a part."""
        counts: dict[str, int] = json.loads(self.restarts.read_text())
        self._replace(self.restarts, json.dumps({**counts, part: counts[part] + 1}))

    def is_disconnected(self, request_id: str) -> bool:
        """Whether the caller of this request disconnected before its answer."""
        return (self._disconnected / request_id).is_file()

    def clear_disconnected(self, request_id: str) -> None:
        """Remove the file that marks this request's caller as disconnected, if there is one."""
        (self._disconnected / request_id).unlink(missing_ok=True)

    @contextmanager
    def working(self) -> Generator[None]:
        """Held by a handler while it answers a request; the kernel releases the lock when the handler dies."""
        with (self.path / "work").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def is_working(self) -> bool:
        """Whether any handler is answering a request."""
        with (self.path / "work").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        """Write a file atomically."""
        draft = path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(path)
