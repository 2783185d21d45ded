"""Seconds of ways that take turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def take_turns(runs: int, ways: Mapping[str, Callable[[], object]], *, warm: bool = False) -> dict[str, list[float]]:
    """Run every way once unmeasured, unless they are warm, then all of them in turn.

    Args:
        runs: Times each way is measured.
        ways: Name -> what it does.
        warm: Whether every way has run before.

    Returns:
        Name -> seconds of each run, in order.
    """
    if not warm:
        for way in ways.values():
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def ratio(seconds: Mapping[str, list[float]], first: str, second: str) -> float:
    """Median over the turns of one way's time over the other's."""
    return statistics.median(one / other for one, other in zip(seconds[first], seconds[second], strict=True))


def medians(seconds: Mapping[str, list[float]], *names: str) -> str:
    """The medians as text, in seconds."""
    return " / ".join(f"{statistics.median(seconds[name]):.2f} s" for name in names)
