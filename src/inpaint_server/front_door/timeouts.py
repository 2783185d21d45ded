"""How long the supervisor waits before it acts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorTimeouts:
    """How often the supervisor checks the engine and the front door, and what it tolerates; times in seconds.

    Attributes:
        check_interval: Between two checks; the end of a process is noticed at once.
        probe: In which the engine's ping, and a worker of the front door, has to answer; else `/ping` is 503.
        engine_unresponsive: Without an answer after which the engine is restarted.
        front_door_unresponsive: Without an answer, and without a request in progress, after which the front door is.
        front_door_start: In which the front door has to open.
        last_responses: In which responses have to reach Java, and then the network, after the engine has finished.
        max_restarts: Restarts within `restart_window` after which the supervisor gives up.
        restart_window: See `max_restarts`.
        max_failed_starts: Failed starts of a part in a row after which the supervisor gives up.
    """

    check_interval: float = 1.0
    probe: float = 2.0
    engine_unresponsive: float = 20.0
    front_door_unresponsive: float = 4.0
    front_door_start: float = 60.0
    last_responses: float = 1.0
    max_restarts: int = 30
    restart_window: float = 600.0
    max_failed_starts: int = 3


class UnresponsiveTimer:
    """For how long a process has not answered, counted from its first unanswered probe; 0 while it answers."""

    def __init__(self) -> None:
        self._since: float | None = None
        self.seconds = 0.0

    def update(self, probe: Callable[[], bool]) -> None:
        """Probe once; a late probe does not count as time without an answer."""
        begun = time.monotonic()
        self._since = None if probe() else self._since or begun
        self.seconds = 0.0 if self._since is None else time.monotonic() - self._since
