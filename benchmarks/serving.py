"""The real server under concurrent clients: adverts per second, latencies, a short request beside a long one."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from benchmarks import jobs
from benchmarks.clients import Load, Sent, client_of, send, side_by_side
from benchmarks.figures import Figure, Part
from benchmarks.servers import Server, ours

CLIENTS = 8
_LONG = {"profile": "seed"}
_SHORT = {"profile": "fast"}
_HEAD_START_S = 1.0


def measure(runs: int, bundle: str) -> Part:
    """One client and eight take turns; then a short request is sent after a long one."""
    with ours(bundle=bundle) as server:
        side_by_side(server.url, [[jobs.advert()]] * 2)
        turns = [(_clients(server, 1), _clients(server, CLIENTS)) for _ in range(runs)]
        races = [_race(server) for _ in range(runs)]
    alone = [one.per_second for one, _ in turns]
    together = [eight.per_second for _, eight in turns]
    latencies = [latency for _, eight in turns for latency in eight.latencies]
    all_of_them = Load(latencies=tuple(latencies), seconds=sum(eight.seconds for _, eight in turns))
    return Part(
        figures=[
            Figure(
                name=f"adverts per second, {CLIENTS} clients over one",
                value=statistics.median(eight / one for one, eight in zip(alone, together, strict=True)),
                at_least=1.5,
                detail=f"{statistics.median(together):.3f} / {statistics.median(alone):.3f} per second",
            ),
            Figure(
                name=f"latency with {CLIENTS} clients, 95th percentile over mean",
                value=all_of_them.p95 / all_of_them.mean,
                at_most=2.0,
                detail=f"{all_of_them.p95:.1f} s / {all_of_them.mean:.1f} s, {len(latencies)} requests",
            ),
            Figure(
                name="a short request sent after a long one, its time over what was left of the long one's",
                value=statistics.median(
                    short.seconds / (long.ended - short.ended + short.seconds) for short, long in races
                ),
                at_most=1.0,
                detail=f"{races[-1][0].seconds:.1f} s beside {races[-1][1].seconds:.1f} s",
            ),
        ],
        series={
            "adverts per minute": {
                "ours, 1 client": 60 * statistics.median(alone),
                f"ours, {CLIENTS} clients": 60 * statistics.median(together),
            }
        },
    )


def _clients(server: Server, clients: int) -> Load:
    """As many adverts in all, whoever sends them."""
    requests = [jobs.advert() for _ in range(CLIENTS)]
    return side_by_side(server.url, [requests[client::clients] for client in range(clients)])


def _race(server: Server) -> tuple[Sent, Sent]:
    """The short and the long request."""
    with client_of(server.url) as slow, client_of(server.url) as quick, ThreadPoolExecutor() as pool:
        long = pool.submit(send, slow, jobs.advert(**_LONG))
        Event().wait(_HEAD_START_S)
        short = send(quick, jobs.advert(**_SHORT))
        return short, long.result()
