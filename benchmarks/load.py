"""Far more callers than the server may take: is every one of them answered, and at once?

    python -m benchmarks.load [--clients 64] [--queue 8] [--seconds 120]

Starts `inpaint-server serve --bundle demo` with this queue; each client sends adverts with seeds of its own, one after
the other, and waits a second after a refusal. Meanwhile /ping is called five times a second. Prints how often each
answer came and how long answers took; fails where one is neither 200 with its request's own seeds nor 503 or 504 as
documented, where one is lost, or where a refusal has no Retry-After. The times are printed and not judged: 503 should
come within 50 ms and /ping within 100 ms on a machine that nobody else uses.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from benchmarks.demo_server import advert_is_good, demo_server
from testing.faults import send
from testing.running import Server
from testing.traffic import advert

REFUSED_PAUSE_S = 1.0


class Load:
    """Clients that send until they are stopped.

    Attributes:
        taken: Milliseconds of the answers with each status.
        faults: What must not have come back.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.sent = 0
        self.taken: defaultdict[str, list[float]] = defaultdict(list)
        self.faults: Counter[str] = Counter()

    def run(self, clients: int, seconds: float) -> None:
        """Let so many clients, and one that pings, send for so long."""
        with ThreadPoolExecutor(clients + 1) as pool:
            running = [pool.submit(self._send, seed) for seed in range(clients)] + [pool.submit(self._ping)]
            threading.Event().wait(seconds)
            self._stop.set()
            for client in running:
                client.result()

    def _send(self, client: int) -> None:
        draw = random.Random(client)  # noqa: S311 - traffic, not secrets
        while not self._stop.is_set():
            sample = advert(draw.randrange(2**32), steps=4)
            self.sent += 1
            begun = time.perf_counter()
            received = send(self._server, sample)
            if received.reply is None:
                self.faults[received.outcome] += 1
                continue
            self.taken[str(received.reply.status)].append((time.perf_counter() - begun) * 1000)
            if wrong := sample.problem(received.reply):
                self.faults[wrong] += 1
            if received.reply.status == 503:
                self.faults["503 without Retry-After"] += "retry-after" not in received.reply.headers
                self._stop.wait(REFUSED_PAUSE_S)

    def _ping(self) -> None:
        while not self._stop.wait(0.2):
            begun = time.perf_counter()
            status = self._server.ping()
            self.taken["ping"].append((time.perf_counter() - begun) * 1000)
            if status != 200:
                self.faults[f"ping {status}"] += 1


def main(
    *,
    clients: Annotated[int, typer.Option(help="Callers at a time.")] = 64,
    queue: Annotated[int, typer.Option(help="Requests that may wait.")] = 8,
    seconds: Annotated[float, typer.Option(help="How long.")] = 120.0,
    deadline: Annotated[float, typer.Option(help="Seconds a request may take.")] = 55.0,
) -> None:
    """Load the server, print the table, exit 1 where something must not have come back."""
    with demo_server(INPAINT_QUEUE=str(queue), INPAINT_DEADLINE_S=str(deadline)) as server:
        advert_is_good(server)
        load = Load(server)
        load.run(clients, seconds)
        advert_is_good(server)
        code = server.stop()
        left = server.pids()
    print("| answer | number | median, ms | 95% within, ms | slowest, ms |\n| --- | --- | --- | --- | --- |")
    for status, taken in sorted(load.taken.items()):
        within = statistics.quantiles(taken, n=20)[-1] if len(taken) > 1 else taken[0]
        print(f"| {status} | {len(taken)} | {statistics.median(taken):.0f} | {within:.0f} | {max(taken):.0f} |")
    answered = sum(len(taken) for status, taken in load.taken.items() if status != "ping")
    print(f"\n{load.sent} sent, {answered} answered, exit code {code}, left behind: {left}")
    wrong = {fault: number for fault, number in load.faults.items() if number}
    print("\n".join(f"{number} x {fault}" for fault, number in wrong.items()) or "Nothing wrong.")
    raise SystemExit(bool(wrong or code or left or answered != load.sent))


if __name__ == "__main__":
    typer.run(main)
