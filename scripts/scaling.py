"""Estimates for a catalogue and an endpoint: instances, hours, cost, and where an endpoint saturates.

    python -m scripts.scaling            # print the tables of docs/scaling.md
    python -m scripts.scaling write      # write them into the page
    python -m scripts.scaling cpu        # measure an advert's processor time on this machine

Nothing here was measured on a GPU. The seconds of an advert are the floor that `inpaint-server plan` computes; the time
that an instance takes to start is an assumption. Both are options of `tables`, to be replaced by measured figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

import typer

from scripts.fleet import Outcome, Scaling, poisson, simulate

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "scaling.md"
CATALOGUE: Final = 1_000_000
FLOOR_S: Final = 1.88
"""`inpaint-server plan --batch 8`: at least 15.00 s for eight adverts of 512 x 512, 25 steps a pass, on an A10G."""
FAST_FLOOR_S: Final = 0.84
"""`inpaint-server plan --batch 8 --steps 10`: at least 6.74 s."""
START_S: Final = 480.0
"""Assumed: machine, 8 GB of image, 5 GB of weights, warming."""
HOUR_S: Final = 3600.0
_MARK: Final = "<!-- tables: python -m scripts.scaling write -->"

app = typer.Typer(help=__doc__, add_completion=False)
Seconds = Annotated[float, typer.Option(help="Seconds of one advert alone on an instance.")]
Start = Annotated[float, typer.Option(help="Seconds from ordering an instance to its first request.")]


@app.callback(invoke_without_command=True)
def tables(context: typer.Context, *, seconds: Seconds = FLOOR_S, start: Start = START_S) -> None:
    """Print every table."""
    if context.invoked_subcommand is None:
        typer.echo(text(seconds, start))


@app.command()
def write() -> None:
    """Write the tables into docs/scaling.md, below the marker."""
    head = PAGE.read_text().partition(_MARK)[0]
    PAGE.write_text(f"{head}{_MARK}\n\n{text(FLOOR_S, START_S)}\n")


@app.command()
def cpu() -> None:
    """Processor seconds of decoding a photo and encoding a picture."""
    from inpaint_server.imaging.codec import decode_photo, encode

    photo = (ROOT / "src" / "inpaint_server" / "demo" / "photos" / "bottle.jpg").read_bytes()
    pixels, _ = decode_photo(photo, max_pixels=64_000_000)
    canvas = pixels[:512, :512]
    typer.echo(f"decode a JPEG of {pixels.shape[1]} x {pixels.shape[0]}: {_cpu_s(decode_photo, photo):.4f} s")
    for form in ("png", "jpeg", "webp"):
        typer.echo(f"encode 512 x 512 as {form}: {_cpu_s(encode, canvas, form):.4f} s")


def text(seconds: float, start: float) -> str:
    """All tables as Markdown."""
    parts = (catalogue(start, seconds), saturation(seconds, start), bursts(seconds, start), wake_up(seconds, start))
    return "\n\n".join(parts)


def catalogue(start: float, seconds: float) -> str:
    """A million products in one Batch Transform job."""
    kinds = {
        "quality, the floor": seconds,
        "quality, twice the floor": 2 * seconds,
        "quality, three times": 3 * seconds,
        "fast, the floor": seconds * FAST_FLOOR_S / FLOOR_S,
    }
    rows = [
        [
            f"{name}: {each:.2f} s",
            f"{HOUR_S / each:,.0f}",
            f"{CATALOGUE * each / HOUR_S:,.0f}",
            *(f"{_instances(each, hours, start):,}" for hours in (8, 24, 72)),
            f"{1000 * each / HOUR_S:.2f} x p",
            *(f"{1000 * each / HOUR_S * price:.2f}" for price in (1.0, 1.5, 2.0)),
        ]
        for name, each in kinds.items()
    ]
    heads = ["one advert", "adverts per hour", "instance-hours", "for 8 h", "for 24 h", "for 72 h"]
    prices = ["cost of 1,000 at price p per hour", "p = 1.00", "p = 1.50", "p = 2.00"]
    return _section("A million products, one advert each", [*heads, *prices], rows)


def saturation(seconds: float, start: float) -> str:
    """A steady load on up to four instances of a real-time endpoint, two hours."""
    capacity = 4 / seconds
    rows: list[list[str]] = []
    for share in (0.25, 0.5, 0.75, 0.9, 1.1, 1.5):
        rate = share * capacity
        for queue in (32, 16):
            scaling = Scaling(minimum=1, maximum=4, target=4, start_s=start, queue=queue)
            done = simulate(poisson(_steady(rate), 2 * HOUR_S, seed=1), 2 * HOUR_S, seconds, scaling)
            rows.append([f"{rate:.2f} ({share:.0%})", f"{queue}", *_cells(done)])
    heads = ["adverts per second (of four instances' capacity)", "`INPAINT_QUEUE`", *_OUTCOME_HEADS]
    return _section("A steady load on a real-time endpoint of 1 to 4 instances, target 4, for two hours", heads, rows)


def bursts(seconds: float, start: float) -> str:
    """A quarter of an hour of six times the load, under several settings."""
    rows: list[list[str]] = []
    for minimum, target in ((1, 8), (1, 4), (1, 2), (2, 4), (4, 4)):
        scaling = Scaling(minimum=minimum, maximum=6, target=target, start_s=start, queue=16)
        arrivals = poisson(_burst(0.4 / seconds), 2 * HOUR_S, seed=2)
        rows.append([f"{minimum}", f"{target}", *_cells(simulate(arrivals, 2 * HOUR_S, seconds, scaling))])
    heads = ["minimum instances", "target", *_OUTCOME_HEADS]
    title = "A burst: 40% of one instance's capacity, six times that from minute 30 to 45; up to 6 instances, queue 16"
    return _section(title, heads, rows)


def wake_up(seconds: float, start: float) -> str:
    """Requests that all arrive at once at an asynchronous endpoint without instances."""
    rows: list[list[str]] = []
    for number in (10, 1_000, 20_000):
        for maximum in (4, 16):
            scaling = Scaling(minimum=0, maximum=maximum, target=8, start_s=start)
            done = simulate([0.0] * number, 0.0, seconds, scaling, asynchronous=True)
            paid = done.instance_s + scaling.in_after_s * done.peak  # until they are removed
            rows.append(
                [
                    f"{number:,}",
                    f"{maximum}",
                    f"{min(done.latencies) / 60:.0f} min",
                    f"{done.last_s / HOUR_S:.1f} h",
                    f"{done.peak}",
                    f"{paid / HOUR_S:.1f}",
                    f"{1000 * paid / HOUR_S / number:.2f} x p",
                ]
            )
    heads = ["requests", "maximum instances", "first answer", "last answer", "peak", "instance-hours", "cost of 1,000"]
    return _section("All at once to an asynchronous endpoint without instances, target 8", heads, rows)


_OUTCOME_HEADS: Final = (
    "answered",
    "refused (503)",
    "late (504)",
    "median s",
    "95% within s",
    "instance-hours",
    "peak",
)


def _cells(outcome: Outcome) -> list[str]:
    total = len(outcome.latencies) + outcome.refused + outcome.late
    return [
        f"{len(outcome.latencies) / total:.1%}",
        f"{outcome.refused / total:.1%}",
        f"{outcome.late / total:.1%}",
        f"{outcome.percentile(0.5):.0f}",
        f"{outcome.percentile(0.95):.0f}",
        f"{outcome.instance_s / HOUR_S:.1f}",
        f"{outcome.peak}",
    ]


def _instances(seconds: float, hours: float, start: float) -> int:
    """Instances that finish a catalogue in time, their start included."""
    working = hours * HOUR_S - start
    return -int(-CATALOGUE * seconds // working)


def _steady(rate: float) -> Callable[[float], float]:
    return lambda _: rate


def _burst(rate: float) -> Callable[[float], float]:
    return lambda now: rate * 6 if 1800 <= now < 2700 else rate


def _section(title: str, heads: Iterable[str], rows: list[list[str]]) -> str:
    lines = [list(heads), ["---"] * len(rows[0]), *rows]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cpu_s(work: Callable[..., object], *arguments: object, **named: object) -> float:
    """Processor seconds of one call, the best of five: other processes do not count."""
    named |= {"max_pixels": 64_000_000} if isinstance(arguments[0], bytes) else {}
    times: list[float] = []
    for _ in range(5):
        begun = time.process_time()
        work(*arguments, **named)
        times.append(time.process_time() - begun)
    return min(times)


if __name__ == "__main__":
    app()
