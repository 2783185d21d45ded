"""The engine's own process with gates, on a backend of plain colours or (PLAIN=0) on the settings' bundle.

Where the folder GATES holds a named pipe `load`, `mask`, `pass` or `encode` (see `running.Gate`), the thread that comes
to that stage stops until the test opens it: so a fault can be put exactly there. A file `broken` in it makes loading
fail, and LOAD_S makes loading take that many seconds longer. `encode` is the stage that signs a picture's file.

A supervisor's engine command: `python -m testing.plain_engine`, to which it appends `--uds PATH --restarts PATH`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inpaint_server.domain.calls import MaskLogits, Segment
from inpaint_server.domain.request import OutputFormat, Task
from inpaint_server.errors import BundleError
from inpaint_server.server import process as engine_process
from inpaint_server.server.loading import Loaded, assemble, load_backend, warm_up
from inpaint_server.settings import Settings
from testing.plain_backend import PlainBackend
from testing.plain_server import load_plain

GATES = Path(os.environ.get("GATES", "/nonexistent"))


def pass_gate(stage: str) -> None:
    """Stop at the stage's gate if there is one."""
    with contextlib.suppress(FileNotFoundError):
        (GATES / stage).read_bytes()


class GatedBackend:
    """A backend with gates before segmentation and before each step."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def segment(self, calls: Sequence[Segment]) -> list[MaskLogits]:
        pass_gate("mask")
        return self._backend.segment(calls)

    def advance(self, batch: Sequence[Any]) -> None:
        pass_gate("pass")
        self._backend.advance(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def gated_sign(data: bytes, form: OutputFormat, task: Task) -> bytes:
    """A gate in place of a signature."""
    del form, task
    pass_gate("encode")
    return data


def load(settings: Settings) -> Loaded:
    """What `server.loading.load` does, with gates."""
    threading.Event().wait(float(os.environ.get("LOAD_S", "0")))
    pass_gate("load")
    if (GATES / "broken").exists():
        raise BundleError("The bundle is broken: remove the file that says so.")
    if os.environ.get("PLAIN") == "0":
        torch_backend, defaults = load_backend(settings)
        gated: Any = GatedBackend(torch_backend)
        loaded = assemble(settings, gated, defaults, torch_backend.card)
        warm_up(loaded.engine, defaults, settings.start_timeout_s)
    else:
        loaded = load_plain(settings, GatedBackend(PlainBackend()))
    return replace(loaded, sign=gated_sign)


if __name__ == "__main__":
    engine_process.main(load)
