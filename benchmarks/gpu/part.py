"""One part of the GPU benchmark, in this process: `python -m benchmarks.gpu.part NAME`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from benchmarks.gpu.results import Record
from benchmarks.servers import OUT
from inpaint_server.settings import let_waiting_threads_sleep

REAL_SIZE: Final = OUT / "real-size-gpu"
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is measured.

    Attributes:
        device: Where the models run.
        small: Whether it is only tried: the demo bundle, few steps, few repetitions.
        out: The folder of the results.
    """

    device: Device
    small: bool
    out: Path

    @property
    def bundle(self) -> str:
        """The bundle's folder, or `demo`."""
        return "demo" if self.small else str(REAL_SIZE)

    @property
    def effort(self) -> dict[str, int]:
        """The fields of a request that make it quick where it is only tried."""
        return {"steps": 2} if self.small else {}


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    name: str,
    *,
    device: Device = "cuda",
    out: Path = OUT / "gpu",
    small: Annotated[bool, typer.Option("--small")] = False,
) -> None:
    """Measure one part."""
    let_waiting_threads_sleep()
    record = Record(name, out)
    part: Any = importlib.import_module(f"benchmarks.gpu.{name}")  # after the line above: it imports torch
    part.measure(Target(device=device, small=small, out=out), record)
    if record.failed:
        raise SystemExit("some of it failed: see the remarks")


if __name__ == "__main__":
    app()
