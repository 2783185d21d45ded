"""Mixed traffic for as long as you like: is the server the same at the end as at the start?

    python -m benchmarks.endurance [--minutes 60] [--clients 3]

Starts `inpaint-server serve --bundle demo` with caches so small that they are full within the first minute, sends it
requests of every kind from some clients at once (some of which leave before their answer), and takes a sample every few
seconds: resident memory and open files of all its processes, and how long requests took meanwhile. Prints the samples'
medians by fifths of the time, and fails where a reply is wrong, or where the last fifth's memory or files are more than
5% above the second's. (The first is left out: caches and arenas fill.) Time is compared too and not judged: on a shared
machine it says little.
"""

from __future__ import annotations

import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.progress import track

from benchmarks.demo_server import advert_is_good, demo_server, open_files, private_megabytes
from testing.running import Server
from testing.traffic import random_request

SMALL_CACHES = {
    f"INPAINT_{name}_CACHE_MB": megabytes
    for name, megabytes in {"PHOTO": "8", "PROMPT": "1", "BACKGROUND": "1", "MASK": "1"}.items()
}
FIFTHS = 5
TOLERANCE = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample.

    Attributes:
        megabytes: Memory that all processes have allocated and touched.
        files: Their open files.
        milliseconds: Times of the small adverts since the sample before.
    """

    megabytes: float
    files: int
    milliseconds: tuple[float, ...]


class Clients:
    """Some clients that send mixed requests until they are stopped."""

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._stop = threading.Event()
        self._taken: list[float] = []
        self.faults: list[str] = []
        self.sent: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(number)
        self._running = [self._pool.submit(self._run, seed) for seed in range(number)]

    def _run(self, seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311 - traffic, not secrets
        while not self._stop.is_set():
            sample = random_request(draw)
            if draw.random() < 0.05:
                leave_early(self._server.port, sample.body)
                self.sent["left early"] += 1
                continue
            begun = time.perf_counter()
            reply = self._server.send(sample)
            if sample.kind == "advert":
                self._taken.append((time.perf_counter() - begun) * 1000)
            self.sent[f"{sample.kind} {reply.status}"] += 1
            if fault := sample.problem(reply):
                self.faults.append(fault)

    def taken(self) -> tuple[float, ...]:
        """Times of the small adverts since the last call, milliseconds."""
        taken, self._taken = self._taken, []
        return tuple(taken)

    def stop(self) -> None:
        """Let every client finish its request; what went wrong in one is raised."""
        self._stop.set()
        for client in self._running:
            client.result()
        self._pool.shutdown()


def leave_early(port: int, body: bytes) -> None:
    """Send a whole request and go."""
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + b"\r\n" + body)


def samples_of(server: Server, traffic: Clients, minutes: float) -> list[Sample]:
    """Samples taken while the traffic runs."""
    samples: list[Sample] = []
    parts = max(10, min(60, int(minutes * 6)))
    for _ in track(range(parts), description=f"{minutes:g} minutes", disable=not sys.stdout.isatty()):
        threading.Event().wait(minutes * 60 / parts)
        pids = server.pids()
        memory, files = private_megabytes(pids), open_files(pids)
        samples.append(Sample(megabytes=memory, files=files, milliseconds=traffic.taken()))
    return samples


def fifths(samples: list[Sample]) -> list[tuple[float, float, float]]:
    """Medians of each fifth of the time: megabytes, files, milliseconds."""
    size = len(samples) / FIFTHS
    parts = [samples[round(i * size) : round((i + 1) * size)] for i in range(FIFTHS)]
    return [
        (
            statistics.median(sample.megabytes for sample in part),
            statistics.median(sample.files for sample in part),
            statistics.median([taken for sample in part for taken in sample.milliseconds] or [float("nan")]),
        )
        for part in parts
    ]


def main(
    *,
    minutes: Annotated[float, typer.Option(help="How long.")] = 60.0,
    clients: Annotated[int, typer.Option(help="How many requests at a time.")] = 3,
) -> None:
    """Run the traffic, print the table, and exit 1 where it is not the same at the end."""
    with demo_server(**SMALL_CACHES) as server:
        advert_is_good(server)
        traffic = Clients(server, clients)
        samples = samples_of(server, traffic, minutes)
        traffic.stop()
        advert_is_good(server)
        code = server.stop()
        left = server.pids()
    table = fifths(samples)
    print("| fifth | memory, MB | open files | small advert, ms |\n| --- | --- | --- | --- |")
    for number, (megabytes, files, milliseconds) in enumerate(table, start=1):
        print(f"| {number} | {megabytes:.0f} | {files:.0f} | {milliseconds:.0f} |")
    memory, files, slower = (last / second for last, second in zip(table[-1], table[1], strict=True))
    print(f"\n{sum(traffic.sent.values())} requests: {dict(sorted(traffic.sent.items()))}")
    print(f"last fifth over second: memory {memory:.3f}, files {files:.3f}, time {slower:.2f}")
    faults = [
        *traffic.faults[:5],
        *([f"exit code {code}"] if code else []),
        *([f"left behind: {left}"] if left else []),
    ]
    faults += [f"{name} grew" for name, ratio in (("memory", memory), ("files", files)) if ratio > TOLERANCE]
    print("\n".join(faults) or "Nothing wrong.")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
