"""Ten thousand requests with something wrong in their bytes, fields or headers, through the real front door.

    python -m benchmarks.fuzz [--number 10000] [--seed 1]

Fails where one is answered 500 or not at all, where a process ends, where allocated memory is more than 5% above what
it was after the first tenth (when the caches are full), or where a good request is no longer good.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Annotated

import typer
from rich.progress import track

from benchmarks.demo_server import advert_is_good, demo_server, private_megabytes
from benchmarks.endurance import SMALL_CACHES
from testing.malformed import malformed_request, problem

LIMITS = {"INPAINT_MAX_CANVAS_MEGAPIXELS": "0.03", "INPAINT_DEADLINE_S": "3"}
TOLERANCE = 1.05


def main(
    *,
    number: Annotated[int, typer.Option(help="How many requests.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 1,
) -> None:
    """Send them, print what came back, exit 1 where something must not have."""
    draw = random.Random(seed)  # noqa: S311 - traffic, not secrets
    answers: Counter[int] = Counter()
    faults: list[str] = []
    at_start = 0.0
    with demo_server(**SMALL_CACHES, **LIMITS) as server:
        advert_is_good(server)
        processes = server.pids()
        for one in track(range(number), disable=not sys.stdout.isatty()):
            if one == number // 10:
                at_start = private_megabytes(server.pids())
            reply = server.send(malformed_request(draw))
            answers[reply.status] += 1
            if wrong := problem(reply):
                faults.append(wrong)
        advert_is_good(server)
        at_end = private_megabytes(server.pids())
        if server.pids() != processes:
            faults.append("a process ended")
    if at_end > TOLERANCE * at_start:
        faults.append("memory grew")
    print(f"{number} requests: {dict(sorted(answers.items()))}")
    print(f"memory {at_start:.0f} MB after a tenth, {at_end:.0f} MB at the end: {at_end / at_start:.3f}")
    print("\n".join(faults[:10]) or "Nothing wrong.")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
