"""This checkout beside another one: the same requests to both servers in turns, and their times as a ratio.

    git worktree add /tmp/old v0.4.0
    python -m benchmarks.versions /tmp/old [--bundle demo] [--rounds 5]

Both servers run at once, without caches and without the front door; while one answers, the other waits. For each
profile, and for eight clients, it prints the median seconds and the median ratio of the pairs, and by how much the
pictures differ: they need not be equal where a version changed what is painted.
"""

from __future__ import annotations

import base64
import io
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from PIL import Image

from benchmarks import jobs
from benchmarks.clients import Sent, client_of, send, side_by_side
from benchmarks.process import NO_CACHES
from benchmarks.servers import Server, free_port, started, wait_until_ready

HERE: Final = Path(__file__).parent.parent
PROFILES: Final = ("fast", "quality")
CLIENTS: Final = 8
_SERVE: Final = "import sys; from inpaint_server.cli import main; sys.exit(main())"


def main(
    old: Annotated[Path, typer.Argument(help="A checkout of the other version.")],
    *,
    bundle: Annotated[str, typer.Option(help="`demo`, or a folder.")] = "demo",
    profiles: Annotated[list[str] | None, typer.Option("--profile", help="Which ones.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Requests of each profile to each server.")] = 5,
) -> None:
    """Compare, and print a line for each figure."""
    with ExitStack() as stack:
        servers = {name: _serve(stack, name, tree, bundle) for name, tree in (("old", old), ("new", HERE))}
        for profile in profiles or PROFILES:
            found = _one_client(servers, profile, rounds)
            seconds = {name: [one.seconds for one in sent] for name, sent in found.items()}
            print(f"{profile}: {_compared(seconds)}; pictures differ by at most {_largest_difference(found)} of 255")
        print(f"{CLIENTS} clients, {CLIENTS} adverts: {_compared(_many_clients(servers, rounds))}")


def _serve(stack: ExitStack, name: str, tree: Path, bundle: str) -> Server:
    port = free_port()
    command = [sys.executable, "-c", _SERVE, "serve", "--bundle", bundle, "--port", str(port), "--direct"]
    caches = {f"INPAINT_{cache}".upper(): str(size) for cache, size in NO_CACHES.items()}
    server = stack.enter_context(
        started(command, port, {"PYTHONPATH": f"{tree}/src", **caches}, name=f"version-{name}")
    )
    wait_until_ready(server)
    return server


def _in_turns(servers: Mapping[str, Server], rounds: int) -> Iterator[tuple[int, str, Server]]:
    """Each round both servers; which one begins changes from round to round."""
    for number in range(rounds):
        for name in sorted(servers, reverse=bool(number % 2)):
            yield number, name, servers[name]


def _one_client(servers: Mapping[str, Server], profile: str, rounds: int) -> dict[str, list[Sent]]:
    requests = [jobs.advert(profile=profile, seed=number) for number in range(rounds)]
    found: dict[str, list[Sent]] = {name: [] for name in servers}
    for number, name, server in _in_turns(servers, rounds):
        with client_of(server.url) as client:
            found[name].append(send(client, requests[number]))
    return found


def _many_clients(servers: Mapping[str, Server], rounds: int) -> dict[str, list[float]]:
    requests = [[[jobs.advert(seed=CLIENTS * number + one)] for one in range(CLIENTS)] for number in range(rounds)]
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    for number, name, server in _in_turns(servers, rounds):
        seconds[name].append(side_by_side(server.url, requests[number]).seconds)
    return seconds


def _compared(seconds: Mapping[str, Sequence[float]]) -> str:
    ratio = statistics.median(new / old for old, new in zip(seconds["old"], seconds["new"], strict=True))
    medians = ", ".join(f"{name} {statistics.median(seconds[name]):.2f}" for name in ("old", "new"))
    return f"{medians}, new / old {ratio:.3f}"


def _largest_difference(found: Mapping[str, Sequence[Sent]]) -> int:
    pairs = zip(found["old"], found["new"], strict=True)
    return max(int(np.abs(_picture(old) - _picture(new)).max()) for old, new in pairs)


def _picture(sent: Sent) -> np.ndarray:
    encoded = sent.reply.json()["images"][0]["image"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"), dtype=np.int16)


if __name__ == "__main__":
    typer.run(main)
