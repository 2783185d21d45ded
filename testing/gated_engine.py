"""The engine's own process with gates in it, on plain colours or (PLAIN=0) on the settings' bundle.

Where the folder GATES holds a named pipe `mask`, `pass` or `encode`, whoever comes to that stage stops until somebody
writes to it: so a fault can be put exactly there. SLOW_LOAD_S is how many seconds longer than usual loading takes.
It is the command of a supervisor: `--uds PATH` is appended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inpaint_server.server import process as engine_process
from inpaint_server.server.loading import Loaded
from inpaint_server.server.loading import load as load_bundle
from inpaint_server.settings import Settings
from inpaint_server.wire import encode
from testing.plain_app import load as load_plain
from testing.plain_backend import PlainBackend

GATES = Path(os.environ.get("GATES", "/nonexistent"))
PLAIN = os.environ.get("PLAIN", "1") == "1"


def gated(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work behind a gate."""

    def wait_and_work(*arguments: Any, **named: Any) -> Any:
        gate = GATES / name
        if gate.exists():
            gate.read_bytes()
        return work(*arguments, **named)

    return wait_and_work


def load(settings: Settings) -> Loaded:
    """The models, not before their time."""
    threading.Event().wait(float(os.environ.get("SLOW_LOAD_S", "0")))
    return load_plain(settings) if PLAIN else load_bundle(settings)


def main() -> None:
    """Put the gates in and be the engine."""
    if PLAIN:
        painter: Any = PlainBackend
    else:
        from inpaint_server.models.backend import TorchBackend

        painter = TorchBackend
    painter.segment = gated("mask", painter.segment)
    painter.advance = gated("pass", painter.advance)
    encode.encode = gated("encode", encode.encode)
    engine_process.main(load)


if __name__ == "__main__":
    main()
