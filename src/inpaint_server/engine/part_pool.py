"""Threads for the parts of requests, shared so that no request can keep the others from starting."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

_THREADS_PER_JOB_SLOT: Final = 3
"""A request may run several pictures side by side; they mostly wait for the device."""


@dataclass(slots=True, eq=False)
class _Queued:
    """A job's parts that have not started, in order, and how many of its parts have not ended."""

    parts: deque[Callable[[], None]] = field(default_factory=deque[Callable[[], None]])
    unfinished: int = 0


class PartPool:
    """Runs the parts of jobs on threads of its own.

    At most `max_jobs` jobs are started and unfinished at a time. The next part is one of the job that runs the fewest,
    the oldest first; and a second part of a job only takes a thread that no further job needs for its first.

    Args:
        max_jobs: Jobs in progress at a time.
        max_parts: Parts of one job that run at a time.
    """

    def __init__(self, *, max_jobs: int, max_parts: int) -> None:
        self._max_jobs = max_jobs
        self._max_parts = max_parts
        self._threads = _THREADS_PER_JOB_SLOT * max_jobs
        self._queued: dict[object, _Queued] = {}
        self._started: set[object] = set()
        self._running: Counter[object] = Counter()
        self._closed = False
        self._changed = threading.Condition()
        for number in range(self._threads):
            threading.Thread(target=self._work, name=f"request-{number}", daemon=True).start()

    def submit(self, job: object, parts: list[Callable[[], None]]) -> None:
        """Queue a job's parts; they start in this order, each in the caller's context."""
        with self._changed:
            queued = self._queued.setdefault(job, _Queued())
            for part in parts:
                context = copy_context()
                queued.parts.append(lambda part=part, context=context: context.run(part))
            queued.unfinished += len(parts)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until every part has ended, then end the threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queued)
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        # Each part is run in a call of its own: a frame that waits for the next one must not hold the last job.
        while self._run_next_part():
            pass

    def _run_next_part(self) -> bool:
        """Wait for a part and run it; False: the pool was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next_job() is not None)
            job = self._next_job()
            if job is None:
                return False
            self._started.add(job)
            self._running[job] += 1
            part = self._queued[job].parts.popleft()
        try:
            part()
        finally:
            with self._changed:
                self._running[job] -= 1
                self._queued[job].unfinished -= 1
                if not self._queued[job].unfinished:
                    del self._queued[job], self._running[job]
                    self._started.discard(job)
                self._changed.notify_all()
        return True

    def _next_job(self) -> object | None:
        startable = [job for job in self._queued if self._may_start(job)]
        return min(startable, key=lambda job: self._running[job], default=None)

    def _may_start(self, job: object) -> bool:
        running, queued = self._running[job], self._queued[job]
        if len(queued.parts) <= 0 or running >= self._max_parts:
            return False
        if job not in self._started:
            return len(self._started) < self._max_jobs
        if running == 0:
            return True
        free = self._threads - self._running.total()
        without_thread = sum(not self._running[one] for one in self._started)
        return free > self._max_jobs - len(self._started) + without_thread
