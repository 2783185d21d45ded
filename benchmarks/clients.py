"""Clients that post requests, alone or side by side, and what each request took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from benchmarks.jobs import HttpRequest

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sent:
    """One request that was answered.

    Attributes:
        seconds: From its first byte out to its last byte in.
        ended: When, on the clock of `time.perf_counter`.
        reply: The answer.
    """

    seconds: float
    ended: float
    reply: httpx.Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a number of clients saw together.

    Attributes:
        latencies: Seconds of each request.
        seconds: From the first request to the last answer.
    """

    latencies: tuple[float, ...]
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return len(self.latencies) / self.seconds

    @property
    def p95(self) -> float:
        """95th percentile of the latencies, seconds."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, round(0.95 * len(self.latencies)))]

    @property
    def mean(self) -> float:
        """Mean of the latencies, seconds."""
        return statistics.fmean(self.latencies)


def send(client: httpx.Client, request: HttpRequest) -> Sent:
    """Post one request.

    Raises:
        SystemExit: it was refused.
    """
    begun = time.perf_counter()
    reply = client.post(request.path, content=request.body, headers=request.headers)
    ended = time.perf_counter()
    if not reply.is_success:
        raise SystemExit(f"A request was answered {reply.status_code}: {reply.text[:300]}")
    return Sent(seconds=ended - begun, ended=ended, reply=reply)


def client_of(url: str) -> httpx.Client:
    """One client: one connection that is kept."""
    return httpx.Client(base_url=url, timeout=_TIMEOUT_S)


def side_by_side(url: str, requests: Sequence[Sequence[HttpRequest]]) -> Load:
    """As many clients as there are lists; each posts its own, the next when the one before is answered."""

    def work(mine: Sequence[HttpRequest]) -> list[float]:
        with client_of(url) as client:
            return [send(client, request).seconds for request in mine]

    begun = time.perf_counter()
    with ThreadPoolExecutor(max_workers=len(requests)) as pool:
        latencies = [latency for part in pool.map(work, requests) for latency in part]
    return Load(latencies=tuple(latencies), seconds=time.perf_counter() - begun)
