"""What an advert costs, beside the obvious way and beside other servers: a table, a plot and a JSON in out/bench.

Each part runs in a process of its own, so that none finds the memory or the caches of another.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Annotated, Final

import typer

from benchmarks import machine, report
from benchmarks.figures import Part
from benchmarks.servers import OUT
from inpaint_server.settings import let_waiting_threads_sleep

PARTS: Final = ("engine", "serving", "transport", "planner", "soak", "cold_start", "peers.comparison")
app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)

RunsOption = Annotated[int, typer.Option(min=1, help="Times each way is measured; the median counts.")]
BundleOption = Annotated[str, typer.Option(help="`demo`, or a folder of weights.")]


@app.command("all")
def run_all(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Which of {', '.join(PARTS)}; default: all.")] = None,
    *,
    runs: RunsOption = 3,
    bundle: BundleOption = "demo",
) -> None:
    """Measure, then print the table."""
    OUT.mkdir(parents=True, exist_ok=True)
    found: dict[str, Part] = {}
    about = machine.describe()
    for name in parts or PARTS:
        typer.echo(f"{name} ...", err=True)
        measuring = [sys.executable, "-m", "benchmarks", "part", name, "--runs", str(runs), "--bundle", bundle]
        if subprocess.run(measuring, check=False).returncode == 0:  # noqa: S603 - our own
            found[name] = Part.model_validate_json((OUT / f"{name}.json").read_bytes())
        else:
            typer.echo(f"{name} failed; the others go on.", err=True)
    command = " ".join(["python -m benchmarks all", *(parts or []), f"--runs {runs}"])
    typer.echo(report.write(OUT, found, about, command))


@app.command("publish")
def publish() -> None:
    """Put the last run's table and plot into docs/benchmarks.md."""
    report.publish(OUT)


@app.command("part")
def run_part(name: str, *, runs: RunsOption = 3, bundle: BundleOption = "demo") -> None:
    """Measure one part in this process and write its JSON."""
    let_waiting_threads_sleep()
    part: Part = importlib.import_module(f"benchmarks.{name}").measure(runs, bundle)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(part.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    app()
