"""Parts of a benchmark, each in a process of its own, which ends with all it started, at the latest at its limit."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_MARK: Final = "BENCHMARK_PART"
"""A variable that every process of a part inherits, whatever session or process group it moves to."""
_ENDING_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part.

    Attributes:
        name: What it is called.
        command: What measures it.
        limit_s: Seconds after which it is killed.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a part ended.

    Attributes:
        part: Its name.
        seconds: How long it took.
        failure: Why it is not whole; empty where it is.
    """

    part: str
    seconds: float
    failure: str = ""

    def __str__(self) -> str:
        return f"`{self.part}` {self.seconds:.1f} s" + (f" (**{self.failure}**)" if self.failure else "")


def run(part: Part, *, limit_s: float, folder: Path, log: Path, environment: Mapping[str, str]) -> Outcome:
    """Run a part and wait for its end.

    Args:
        part: The part.
        limit_s: The most seconds that are left for it, if that is less than its own limit.
        folder: Where it runs.
        log: The file that its output is appended to.
        environment: Its variables, in addition to this process's own.
    """
    mark = str(uuid.uuid4())
    limit = min(part.limit_s, limit_s)
    begun = time.monotonic()
    with log.open("ab") as output:
        output.write(f"\n== {part.name}\n".encode())
        output.flush()
        begin = output.tell()
        process = subprocess.Popen(  # noqa: S603 - commands of our own, no shell
            part.command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, _MARK: mark},  # noqa: TID251 - children inherit the environment as it is
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            failure = f"exit code {code}: {_last_line(log, begin)}" if code else ""
        except subprocess.TimeoutExpired:
            failure = f"killed at its limit of {limit:.0f} s"
        finally:
            _kill(mark)
            process.wait()
    return Outcome(part=part.name, seconds=time.monotonic() - begun, failure=failure)


def _kill(mark: str) -> None:
    """Kill every process with a mark, a server in a session of its own among them."""
    while processes := [process for process in psutil.process_iter() if _mark_of(process) == mark]:
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=_ENDING_S)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(_MARK)
    except (psutil.Error, OSError):  # it has ended, or is another user's
        return None


def _last_line(log: Path, begin: int) -> str:
    """The last line that a part printed, which for a Python program is its error."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
