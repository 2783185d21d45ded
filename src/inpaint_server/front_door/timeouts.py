"""How patient the supervisor is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorTimeouts:
    """How often the supervisor looks, and how long it puts up with what it sees; times in seconds.

    Attributes:
        look: Between two looks at engine and front door; a death is seen at once.
        answer: In which the engine's ping, and a worker of the front door, has to answer; else `/ping` is 503.
        engine_hang: Without an answer after which the engine is started again.
        door_hang: Without an answer, and without a request at work, after which the front door is.
        open: In which the front door has to open.
        cut: Beyond the settings' `drain_s`, which the engine keeps itself, before it is killed.
        last_replies: In which replies have to reach Java, and then the network, after the engine has finished.
        deaths: Restarts within `window` after which the supervisor gives up.
        window: See `deaths`.
        false_starts: Restarts of the engine in a row that may fail before it is warm.
    """

    look: float = 1.0
    answer: float = 2.0
    engine_hang: float = 20.0
    door_hang: float = 4.0
    open: float = 60.0
    cut: float = 2.0
    last_replies: float = 1.0
    deaths: int = 30
    window: float = 600.0
    false_starts: int = 3


class UnresponsiveTimer:
    """For how long something has not answered; a late look at it is not a silence."""

    def __init__(self) -> None:
        self._began: float | None = None
        self.seconds = 0.0

    def note(self, ask: Callable[[], bool]) -> None:
        """Ask, and count from the first question without an answer."""
        asked = time.monotonic()
        self._began = None if ask() else self._began or asked
        self.seconds = 0.0 if self._began is None else time.monotonic() - self._began
