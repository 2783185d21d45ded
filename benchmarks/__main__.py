"""What an advert costs, beside the obvious way and beside other servers: a table, a plot and a JSON in out/bench.

Each part runs in a process of its own, so that none finds the memory or the caches of another. The commands import what
they need themselves: `gpu` also runs where some of it is missing and comes along as wheels.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from benchmarks.gpu import wheels as travelling

if TYPE_CHECKING:
    from benchmarks.figures import Part

OUT: Final = Path("out") / "bench"
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
    from benchmarks import machine, report
    from benchmarks.figures import Part

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
    from benchmarks import report

    report.publish(OUT)


@app.command("part")
def run_part(name: str, *, runs: RunsOption = 3, bundle: BundleOption = "demo") -> None:
    """Measure one part in this process and write its JSON."""
    from inpaint_server.settings import let_waiting_threads_sleep

    let_waiting_threads_sleep()
    part: Part = importlib.import_module(f"benchmarks.{name}").measure(runs, bundle)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(part.model_dump_json(indent=1) + "\n")


@app.command("gpu")
def run_gpu(  # noqa: PLR0913 - one parameter for each option a user types
    parts: Annotated[list[str] | None, typer.Argument(help="Which parts; default: all.")] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for results.jsonl, figures.json, table.md and log.txt.")] = OUT
    / "gpu",
    wheels: Annotated[  # noqa: ARG001 - `main` has read it
        Path | None, typer.Option(help="Wheels of what this machine lacks.", exists=True, file_okay=False)
    ] = None,
    minutes: Annotated[float, typer.Option(help="The most that all parts may take together.")] = 8,
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="`cpu` only tries whether it runs.")] = "cuda",
    small: Annotated[bool, typer.Option("--small", help="The demo bundle in small numbers.")] = False,
    list_wheels: Annotated[
        bool, typer.Option("--list-wheels", help="Print what --wheels must hold for an image of PyTorch, and stop.")
    ] = False,
) -> None:
    """Measure on a GPU; results are written as they come. Exit code 1: a part is not whole."""
    if list_wheels:
        typer.echo("\n".join(travelling.requirements()))
        return
    from benchmarks.gpu import run

    chosen = run.parts(parts or (), device=device, small=small, out=out.absolute())
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    outcomes = run.measure(chosen, out=out.absolute(), minutes=minutes, command=command)
    typer.echo((out / "table.md").read_text())
    if any(outcome.failure for outcome in outcomes):
        raise typer.Exit(1)


def main() -> None:
    """Run a command, with the packages of `--wheels` there from the start: reading the options needs one of them."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--wheels", type=Path)
    with travelling.on_path(early.parse_known_args()[0].wheels):
        app()


if __name__ == "__main__":
    main()
