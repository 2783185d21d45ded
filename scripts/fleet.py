"""A small simulation of the instances behind one endpoint: requests arrive, share instances, and autoscaling follows.

The device's arithmetic is the limit: n adverts in a batch take n times as long as one (`inpaint-server plan` gives the
same seconds per advert for every batch), so the requests in a batch share an instance evenly. The others wait in its
queue, and a request that finds the queue full is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

STEP_S: Final = 0.5
MAX_BATCH: Final = 8  # INPAINT_MAX_BATCH
DEADLINE_S: Final = 55.0  # INPAINT_DEADLINE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the fleet follows its load.

    Attributes:
        minimum: Fewest instances.
        maximum: Most instances.
        target: Requests per instance that scaling aims at; for an asynchronous endpoint, requests waiting per instance.
        queue: Requests that may wait in an instance, INPAINT_QUEUE.
        start_s: Seconds from ordering an instance to its first request: machine, image, weights, warm-up.
        out_cooldown_s: Seconds without scaling after instances were added.
        in_cooldown_s: Seconds without scaling after instances were removed.
        out_after_s: Seconds above the target before instances are added (three readings of ten seconds).
        in_after_s: Seconds below nine tenths of the target before idle instances are removed (fifteen readings of a
            minute).
    """

    minimum: int
    maximum: int
    target: float
    start_s: float
    queue: int = 32
    out_cooldown_s: float = 60.0
    in_cooldown_s: float = 600.0
    out_after_s: float = 30.0
    in_after_s: float = 900.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What happened to the requests.

    Attributes:
        latencies: Seconds of each answered request.
        refused: Number of requests answered 503 at once.
        late: Number of requests answered 504 at the deadline.
        instance_s: Seconds of instances that are paid for, including their start.
        peak: Largest number of instances at a time, including starting ones.
        last_s: When the last request was answered.
    """

    latencies: list[float] = field(default_factory=list[float])
    refused: int = 0
    late: int = 0
    instance_s: float = 0.0
    peak: int = 0
    last_s: float = 0.0

    def percentile(self, share: float) -> float:
        """Seconds within which a share, 0 to 1, of the answered requests was answered."""
        return float(np.percentile(self.latencies, 100 * share)) if self.latencies else float("nan")


@dataclass(slots=True, kw_only=True)
class _Request:
    arrived: float
    remaining_s: float


@dataclass(slots=True, kw_only=True)
class _Fleet:
    running: list[list[_Request]]
    starting: list[float] = field(default_factory=list[float])
    waiting: list[_Request] = field(default_factory=list[_Request])
    over_since: float | None = None
    under_since: float | None = None
    cooldown_until: float = 0.0

    @property
    def size(self) -> int:
        return len(self.running) + len(self.starting)


def simulate(
    arrivals: Iterable[float], duration_s: float, service_s: float, scaling: Scaling, *, asynchronous: bool = False
) -> Outcome:
    """Run the fleet until the duration has passed and every request is answered.

    Args:
        arrivals: Times at which requests arrive, seconds, in order.
        duration_s: Seconds to simulate at least.
        service_s: Seconds of one advert alone on an instance.
        scaling: The endpoint's settings.
        asynchronous: Requests wait outside the instances, an instance takes no more than a batch, and none is refused
            or late.
    """
    coming = list(arrivals)[::-1]
    outcome = Outcome()
    fleet = _Fleet(running=[[] for _ in range(scaling.minimum)])
    now = 0.0
    while now < duration_s or coming or fleet.waiting or any(fleet.running):
        fleet.running += [[] for ready in fleet.starting if ready <= now]
        fleet.starting = [ready for ready in fleet.starting if ready > now]
        while coming and coming[-1] <= now:
            fleet.waiting.append(_Request(arrived=coming.pop(), remaining_s=service_s))
        _admit(fleet, outcome, MAX_BATCH if asynchronous else MAX_BATCH + scaling.queue, asynchronous=asynchronous)
        _work(fleet, outcome, now, deadline=float("inf") if asynchronous else DEADLINE_S)
        _autoscale(fleet, scaling, now)
        outcome.instance_s += fleet.size * STEP_S
        outcome.peak = max(outcome.peak, fleet.size)
        now += STEP_S
    return outcome


def poisson(rate: Callable[[float], float], duration_s: float, seed: int) -> list[float]:
    """Arrival times of independent requests, `rate(t)` of them per second."""
    rng = np.random.default_rng(seed)
    steps = np.arange(0.0, duration_s, STEP_S)
    counts = rng.poisson([rate(float(step)) * STEP_S for step in steps])
    return [float(step) for step, count in zip(steps, counts, strict=True) for _ in range(count)]


def _admit(fleet: _Fleet, outcome: Outcome, limit: int, *, asynchronous: bool) -> None:
    """Send each waiting request to the instance with the fewest; if all are full it keeps waiting, or is refused."""
    while fleet.waiting and fleet.running:
        least = min(fleet.running, key=len)
        if len(least) >= limit:
            break
        least.append(fleet.waiting.pop(0))
    if not asynchronous:
        outcome.refused += len(fleet.waiting)
        fleet.waiting.clear()


def _work(fleet: _Fleet, outcome: Outcome, now: float, deadline: float) -> None:
    for requests in fleet.running:
        batch = requests[:MAX_BATCH]
        for request in batch:
            request.remaining_s -= STEP_S / len(batch)
        for request in [
            request for request in requests if request.remaining_s <= 0 or now - request.arrived > deadline
        ]:
            requests.remove(request)
            if request.remaining_s <= 0:
                outcome.latencies.append(now + STEP_S - request.arrived)
                outcome.last_s = now + STEP_S
            else:
                outcome.late += 1


def _autoscale(fleet: _Fleet, scaling: Scaling, now: float) -> None:
    """Target tracking: add instances after a while above the target, remove idle ones after a long time below it."""
    inside = sum(map(len, fleet.running)) + len(fleet.waiting)
    load = inside / max(1, len(fleet.running))
    fleet.over_since = (fleet.over_since if fleet.over_since is not None else now) if load > scaling.target else None
    under = load < 0.9 * scaling.target
    fleet.under_since = (fleet.under_since if fleet.under_since is not None else now) if under else None
    if now < fleet.cooldown_until:
        return
    desired = max(1, int(np.ceil(max(1, len(fleet.running)) * load / scaling.target)))
    if fleet.size == 0 and inside:
        _start(fleet, 1, scaling, now)
    elif fleet.over_since is not None and now - fleet.over_since >= scaling.out_after_s:
        _start(fleet, min(desired, scaling.maximum) - fleet.size, scaling, now)
    elif fleet.under_since is not None and now - fleet.under_since >= scaling.in_after_s:
        _stop(fleet, scaling, now, desired if inside else 0)


def _start(fleet: _Fleet, number: int, scaling: Scaling, now: float) -> None:
    if number > 0:
        fleet.starting += [now + scaling.start_s] * number
        fleet.cooldown_until = now + scaling.out_cooldown_s


def _stop(fleet: _Fleet, scaling: Scaling, now: float, desired: int) -> None:
    """Remove idle instances that are not desired; one with requests is never removed."""
    idle = [requests for requests in fleet.running if not requests]
    number = min(len(idle), fleet.size - max(scaling.minimum, desired))
    for requests in idle[:number]:
        fleet.running = [other for other in fleet.running if other is not requests]
    if number > 0:
        fleet.cooldown_until = now + scaling.in_cooldown_s
