"""The parts, the most important ones first, one after the other within the minutes that there are."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from benchmarks.gpu import results
from benchmarks.gpu.processes import Outcome, Part, run

ROOT: Final = Path(__file__).parents[2]
LIMITS_S: Final = {
    "bundle": 75,
    "cuda_tests": 100,
    "adverts": 150,
    "kernels": 90,
    "rows": 90,
    "clients": 150,
    "picture": 60,
    "compiled": 150,
}
"""Each part, and the seconds after which it is killed on a GPU: about twice what it is expected to take."""
_PATIENT_S: Final = 300
"""On a CPU, which nobody waits for, and which may be busy."""


def parts(names: Sequence[str], *, device: str, small: bool, out: Path) -> list[Part]:
    """The parts of these names, in their order of importance; all of them for none."""
    flags = ["--device", device, "--out", str(out), *(["--small"] if small else [])]
    return [
        Part(
            name=name,
            command=(sys.executable, "-m", "benchmarks.gpu.part", name, *flags),
            limit_s=limit_s if device == "cuda" else _PATIENT_S,
        )
        for name, limit_s in LIMITS_S.items()
        if name in (names or LIMITS_S)
    ]


def measure(chosen: Sequence[Part], *, out: Path, minutes: float, command: str) -> list[Outcome]:
    """Run parts and write their results after each.

    Args:
        chosen: The parts.
        out: Where the results go: `results.jsonl`, `figures.json`, `table.md`, `log.txt`.
        minutes: The most that all of them may take together.
        command: What is running, for the results.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (results.LINES, "log.txt"):
        (out / name).write_bytes(b"")
    end = time.monotonic() + 60 * minutes
    outcomes: list[Outcome] = []
    for part in chosen:
        left_s = end - time.monotonic()
        if left_s > 0:
            typer.echo(f"{part.name} ...", err=True)
            outcome = run(part, limit_s=left_s, folder=ROOT, log=out / "log.txt", environment=_environment())
        else:
            outcome = Outcome(part=part.name, seconds=0, failure=f"not begun: the {minutes:g} minutes were over")
        outcomes.append(outcome)
        results.write(out, command, outcomes)
        if outcome.failure:
            typer.echo(f"{part.name}: {outcome.failure}", err=True)
    return outcomes


def _environment() -> dict[str, str]:
    """The parts' variables: this checkout's code whether it is installed or not, and no hub to ask."""
    given = os.environ.get("PYTHONPATH", "")  # noqa: TID251 - it stays, behind the checkout
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, given.split(":"))]
    return {"PYTHONPATH": ":".join(paths), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
