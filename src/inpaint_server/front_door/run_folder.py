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


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and words that supervisor, front door (its Java plug-in too) and handlers share.

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
    def workers(self) -> Path:
        """The socket on which multi-model-server's first worker takes connections, and forks one for each."""
        return self.path / ".mms.sock.9000"

    @property
    def model(self) -> Path:
        """The empty folder that multi-model-server is told is the model."""
        return self.path / "model"

    @property
    def stamp(self) -> Path:
        """What the front door's /ping tells of the server beside its state: a JSON object."""
        return self.path / "stamp"

    @property
    def properties(self) -> Path:
        """multi-model-server's configuration."""
        return self.path / "front-door.properties"

    @property
    def restarts(self) -> Path:
        """How often each part was started again: a JSON object, for the engine's metrics."""
        return self.path / "restarts.json"

    @property
    def _gone(self) -> Path:
        """Where the front door notes callers that closed their connection before their answer."""
        return self.path / "gone"

    def prepare(self) -> None:
        """Fill a new folder: state `starting`, a new probe token, nobody at work."""
        self.model.mkdir()
        self._gone.mkdir()
        (self.path / "work").touch()
        self._replace(self.restarts, json.dumps(dict.fromkeys(get_args(Part), 0)))
        (self.path / "probe").write_text(secrets.token_hex(16))
        self.write_state("starting")

    def probe_token(self) -> str:
        """What the supervisor's probes say, so that a handler answers them itself."""
        return (self.path / "probe").read_text()

    def state(self) -> str:
        """What the supervisor said last."""
        return (self.path / "state").read_text()

    def write_state(self, state: State) -> None:
        """Say it; readers see the old word or the new one, nothing in between."""
        self._replace(self.path / "state", state)

    def count_restart(self, part: Part) -> None:
        """Note that a part is started again."""
        counts: dict[str, int] = json.loads(self.restarts.read_text())
        self._replace(self.restarts, json.dumps({**counts, part: counts[part] + 1}))

    def caller_is_gone(self, request_id: str) -> bool:
        """Whether the caller of this request closed its connection before its answer."""
        return (self._gone / request_id).is_file()

    def forget_caller(self, request_id: str) -> None:
        """Remove the note that it did, if there is one."""
        (self._gone / request_id).unlink(missing_ok=True)

    @contextmanager
    def working(self) -> Generator[None]:
        """Held by a handler while it answers a request; the kernel lets go of it when the handler dies."""
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
        """Write a file so that readers see the old text or the new one, nothing in between."""
        draft = path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(path)
