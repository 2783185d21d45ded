"""A small simulation of instances behind one endpoint: requests come, share instances, and autoscaling follows.

Painting is limited by arithmetic: n adverts side by side take n times as long as one (`inpaint-server plan` gives the
same seconds per advert for every batch), so the requests that an instance paints share it evenly; the others wait their
turn, and what finds the queue full is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

STEP_S: Final = 0.5
PAINTED: Final = 8  # side by side: INPAINT_MAX_BATCH
DEADLINE_S: Final = 60.0  # INPAINT_DEADLINE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the fleet follows its load.

    Attributes:
        minimum: Fewest instances.
        maximum: Most instances.
        target: Requests in an instance that it is kept at; those waiting for it, of an asynchronous endpoint.
        queue: Requests that may wait in an instance, INPAINT_QUEUE.
        start_s: From the decision for an instance to its first request: machine, image, weights, warming.
        out_cooldown_s: After an instance was added.
        in_cooldown_s: After one was taken away.
        out_after_s: How long the target has to be exceeded (three readings of ten seconds).
        in_after_s: How long nine tenths of the target must not be reached (fifteen readings of a minute).
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
    """What became of the requests.

    Attributes:
        latencies: Seconds of each answered request.
        refused: Answered 503 at once.
        late: Answered 504 at the deadline.
        instance_s: Seconds paid for, starting ones included.
        peak: Most instances at once, starting ones included.
        last_s: When the last request was answered.
    """

    latencies: list[float] = field(default_factory=list[float])
    refused: int = 0
    late: int = 0
    instance_s: float = 0.0
    peak: int = 0
    last_s: float = 0.0

    def percentile(self, share: float) -> float:
        """Seconds within which a share of the answered requests was answered."""
        return float(np.percentile(self.latencies, 100 * share)) if self.latencies else float("nan")


@dataclass(slots=True, kw_only=True)
class _Request:
    came: float
    left: float


@dataclass(slots=True, kw_only=True)
class _Fleet:
    running: list[list[_Request]]
    starting: list[float] = field(default_factory=list[float])
    waiting: list[_Request] = field(default_factory=list[_Request])
    over_since: float | None = None
    under_since: float | None = None
    quiet_until: float = 0.0

    @property
    def size(self) -> int:
        return len(self.running) + len(self.starting)


def simulate(
    arrivals: Iterable[float], duration_s: float, service_s: float, scaling: Scaling, *, patient: bool = False
) -> Outcome:
    """Run the fleet until the duration is over and every request has its answer.

    Args:
        arrivals: When requests come, seconds, in order.
        duration_s: How long at least.
        service_s: What one advert takes alone on an instance.
        scaling: The endpoint's.
        patient: An asynchronous endpoint: requests wait outside, an instance takes as many as it paints, and none is
            refused or late.
    """
    coming = list(arrivals)[::-1]
    outcome = Outcome()
    fleet = _Fleet(running=[[] for _ in range(scaling.minimum)])
    now = 0.0
    while now < duration_s or coming or fleet.waiting or any(fleet.running):
        fleet.running += [[] for ready in fleet.starting if ready <= now]
        fleet.starting = [ready for ready in fleet.starting if ready > now]
        while coming and coming[-1] <= now:
            fleet.waiting.append(_Request(came=coming.pop(), left=service_s))
        _admit(fleet, outcome, PAINTED if patient else PAINTED + scaling.queue, patient=patient)
        _work(fleet, outcome, now, deadline=float("inf") if patient else DEADLINE_S)
        _follow(fleet, scaling, now)
        outcome.instance_s += fleet.size * STEP_S
        outcome.peak = max(outcome.peak, fleet.size)
        now += STEP_S
    return outcome


def poisson(rate: Callable[[float], float], duration_s: float, seed: int) -> list[float]:
    """Arrival times of requests that come independently, `rate(t)` of them a second."""
    rng = np.random.default_rng(seed)
    steps = np.arange(0.0, duration_s, STEP_S)
    counts = rng.poisson([rate(float(step)) * STEP_S for step in steps])
    return [float(step) for step, count in zip(steps, counts, strict=True) for _ in range(count)]


def _admit(fleet: _Fleet, outcome: Outcome, limit: int, *, patient: bool) -> None:
    """Each waiting request to the instance with the fewest; what finds no room waits on, or is refused."""
    while fleet.waiting and fleet.running:
        least = min(fleet.running, key=len)
        if len(least) >= limit:
            break
        least.append(fleet.waiting.pop(0))
    if not patient:
        outcome.refused += len(fleet.waiting)
        fleet.waiting.clear()


def _work(fleet: _Fleet, outcome: Outcome, now: float, deadline: float) -> None:
    for requests in fleet.running:
        painted = requests[:PAINTED]
        for request in painted:
            request.left -= STEP_S / len(painted)
        for request in [request for request in requests if request.left <= 0 or now - request.came > deadline]:
            requests.remove(request)
            if request.left <= 0:
                outcome.latencies.append(now + STEP_S - request.came)
                outcome.last_s = now + STEP_S
            else:
                outcome.late += 1


def _follow(fleet: _Fleet, scaling: Scaling, now: float) -> None:
    """Target tracking: out when the target is exceeded for a while, in when it is not nearly reached for long."""
    inside = sum(map(len, fleet.running)) + len(fleet.waiting)
    load = inside / max(1, len(fleet.running))
    fleet.over_since = (fleet.over_since if fleet.over_since is not None else now) if load > scaling.target else None
    under = load < 0.9 * scaling.target
    fleet.under_since = (fleet.under_since if fleet.under_since is not None else now) if under else None
    if now < fleet.quiet_until:
        return
    wanted = max(1, int(np.ceil(max(1, len(fleet.running)) * load / scaling.target)))
    if fleet.size == 0 and inside:
        _start(fleet, 1, scaling, now)
    elif fleet.over_since is not None and now - fleet.over_since >= scaling.out_after_s:
        _start(fleet, min(wanted, scaling.maximum) - fleet.size, scaling, now)
    elif fleet.under_since is not None and now - fleet.under_since >= scaling.in_after_s:
        _stop(fleet, scaling, now, wanted if inside else 0)


def _start(fleet: _Fleet, number: int, scaling: Scaling, now: float) -> None:
    if number > 0:
        fleet.starting += [now + scaling.start_s] * number
        fleet.quiet_until = now + scaling.out_cooldown_s


def _stop(fleet: _Fleet, scaling: Scaling, now: float, wanted: int) -> None:
    """Take idle instances away, as many as are not wanted; one that paints is never one of them."""
    idle = [requests for requests in fleet.running if not requests]
    number = min(len(idle), fleet.size - max(scaling.minimum, wanted))
    for requests in idle[:number]:
        fleet.running = [other for other in fleet.running if other is not requests]
    if number > 0:
        fleet.quiet_until = now + scaling.in_cooldown_s
