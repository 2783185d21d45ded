"""The server: its cold start, and adverts of 1, 8 and 16 clients."""

from __future__ import annotations

from pathlib import Path

from benchmarks import jobs
from benchmarks.clients import side_by_side
from benchmarks.cold_start import forget
from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from benchmarks.servers import OUT, memory_of, ours
from inpaint_server.models.bundle import find

_LOGGED = 4000
"""Characters of the end of the server's log that go into the part's."""


def measure(target: Target, record: Record) -> None:
    """Start it with an empty page cache, without the front door: a GPU machine may lack Java."""
    forget(find(target.bundle, Path()))
    try:
        _measure(target, record)
    finally:
        print((OUT / "ours-direct.log").read_text()[-_LOGGED:])


def _measure(target: Target, record: Record) -> None:
    with ours("--direct", bundle=target.bundle, INPAINT_DEVICE=target.device) as server:
        record.figure("cold start, exec to /ping 200", server.ready_s, "s", "weights read from the disk")
        memory = memory_of(server.process.pid)
        record.figure(
            "the server's host memory", memory["VmRSS"] / 1e9, "GB", f"at most {memory['VmHWM'] / 1e9:.2f} GB"
        )
        for clients in (1, 2) if target.small else (1, 8, 16):
            with record.attempt(f"{clients} clients"):
                requests = [jobs.advert(**target.effort) for _ in range(max(clients, 2))]
                load = side_by_side(server.url, [requests[client::clients] for client in range(clients)])
                record.figure(
                    f"adverts per second, {clients} client{'s' if clients > 1 else ''}",
                    load.per_second,
                    "per second",
                    f"mean {load.mean:.2f} s, 95th percentile {load.p95:.2f} s, {len(requests)} requests",
                )
