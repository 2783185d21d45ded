"""The one thread that owns the device: it batches the work that is submitted, and advances the batches in turn.

A pass can join and leave at any step. A pass whose request was ended early (cancelled, past its deadline) is dropped
before its next step, and the device is free for the others.

The device fails for good when the backend reports `DeviceFailed`, when the loop itself raises, or when a model call
hangs: every work gets the error, and a listener is called, which ends the process.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic

import structlog

from inpaint_server.cache import Cache
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, Generate, Score, Segment, Upscale
from inpaint_server.engine.backend import D, ModelBackend, PendingPicture
from inpaint_server.engine.batches import R, W, drop_ended, run_batched
from inpaint_server.engine.work import PassWork, SingleCallWork
from inpaint_server.errors import DeviceFailed, OutOfMemory

log = structlog.get_logger(__name__)
IDLE_S: Final = 1.0
"""Long enough that what is prepared delays no client that sends its requests one after the other."""


class DeviceLoop(Generic[D]):
    """Runs on a thread of its own from `start` to `stop`.

    Args:
        backend: The models.
        max_batch: Largest number of works in one model call; fewer where fewer were measured to fit into memory.
        cache_bytes: Bytes of generated pictures kept: an equal `Generate` call is answered from the cache.
        call_timeout_s: Seconds after which a model call is taken to hang.
        on_failure: Called once, on whichever thread notices, when the device has failed for good.
    """

    def __init__(
        self,
        backend: ModelBackend[D],
        *,
        max_batch: int,
        cache_bytes: int = 0,
        call_timeout_s: float = math.inf,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        self.generated: Cache[Generate, Pixels] = Cache(cache_bytes, lambda pixels: pixels.nbytes)
        self._backend = backend
        self._max_batch = max_batch
        self._single_calls: dict[type, Callable[[Sequence[Any]], Sequence[Any]]] = {
            Segment: backend.segment,
            Score: backend.score,
            CheckSafety: backend.check_safety,
            Upscale: backend.upscale,
        }
        self._inbox: queue.SimpleQueue[Sequence[PassWork[D] | SingleCallWork] | None] = queue.SimpleQueue()
        self._stopping = False
        self._may_prepare = True
        self._active: deque[PassWork[D]] = deque()
        self._pending: list[tuple[PassWork[D], PendingPicture]] = []
        self._call_timeout_s = call_timeout_s
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._unfinished: set[PassWork[D] | SingleCallWork] = set()
        self._failure: DeviceFailed | None = None
        self._call_began: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Start the thread, and another one that watches it."""
        self._thread.start()
        threading.Thread(target=self._watch, name="device-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Finish what is active, then end; call it when nothing more will be submitted."""
        self._inbox.put(None)
        if self._failure is None:
            self._thread.join()

    def submit(self, *works: PassWork[D] | SingleCallWork) -> None:
        """Queue works that are taken in together; their futures receive the results or the errors."""
        with self._lock:
            failure = self._failure
            if failure is None:
                self._unfinished.update(works)
        if failure is not None:
            for work in works:
                work.fail(failure)
            return
        for work in works:
            work.future.add_done_callback(lambda _, work=work: self._forget(work))
        self._inbox.put(works)

    def _forget(self, work: PassWork[D] | SingleCallWork) -> None:
        with self._lock:
            self._unfinished.discard(work)

    def _run(self) -> None:
        try:
            # Each turn is a call of its own: a frame that waits for work must not hold references to the last one.
            while self._active or self._pending or not self._stopping:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - a thread that ends without a word leaves its callers waiting
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            self._ended.set()

    def _watch(self) -> None:
        """Notice a model call that hangs; `_run` itself reports an error that ends its thread."""
        while not self._ended.wait(min(1.0, self._call_timeout_s / 4)):
            began = self._call_began
            if began is not None and time.monotonic() - began > self._call_timeout_s:
                self._fail(f"a model call did not end within {self._call_timeout_s:g} s (INPAINT_CALL_TIMEOUT_S)")
                return

    def _fail(self, reason: str) -> None:
        """The device is of no more use: fail every work, and call the listener."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = DeviceFailed("The device failed and the server is starting again: send the request again.")
            unfinished = list(self._unfinished)
        log.critical("device_failed", reason=reason, works=len(unfinished))
        for work in unfinished:
            work.fail(self._failure)
        self._on_failure()

    def _turn(self) -> None:
        """Run the waiting single calls, one batch for each kind; begin the waiting passes; step one batch.

        Then end the passes whose pictures have arrived meanwhile.
        """
        waiting = self._take_waiting()
        for kind, call_model in self._single_calls.items():
            works = [work for work in waiting if isinstance(work, SingleCallWork) and isinstance(work.call, kind)]
            self._call_model(works, call_model)
        self._begin([work for work in waiting if isinstance(work, PassWork)])
        if self._active:
            self._step(self._next_batch())
        self._take_pictures()

    def _take_waiting(self) -> list[PassWork[D] | SingleCallWork]:
        """Everything in the inbox; blocks only while there is nothing else to do, and lets the backend prepare then."""
        waiting: list[PassWork[D] | SingleCallWork] = []
        while not self._stopping:
            idle = not (self._active or self._pending or waiting)
            try:
                works = self._inbox.get(block=idle, timeout=IDLE_S if self._may_prepare else None)
            except queue.Empty:
                if not idle:
                    break
                self._prepare()
                continue
            self._may_prepare = True
            if works is None:
                self._stopping = True
            else:
                waiting += works
        return waiting

    def _prepare(self) -> None:
        """Have the backend prepare one thing, as it asks for while it is idle, until there is no more."""
        self._call_began = time.monotonic()
        try:
            self._may_prepare = self._backend.idle()
        finally:
            self._call_began = None

    def _call_model(
        self, works: Sequence[SingleCallWork], call_model: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> None:
        began = time.perf_counter()
        remaining = drop_ended(works)
        for work, result in self._run_batched(remaining, lambda some: call_model([work.call for work in some])):
            work.end(result, milliseconds=(time.perf_counter() - began) * 1000)

    def _begin(self, works: Sequence[PassWork[D]]) -> None:
        for work in works:
            work.began = time.perf_counter()
        remaining = [work for work in drop_ended(works) if not self._answer_from_cache(work)]
        for work, state in self._run_batched(remaining, lambda some: self._backend.begin([work.call for work in some])):
            work.state = state
            self._active.append(work)

    def _answer_from_cache(self, work: PassWork[D]) -> bool:
        """Whether an equal call's picture was cached; if so, the work ends with it."""
        cached = self.generated.get(work.call) if isinstance(work.call, Generate) else None
        if cached is not None:
            work.end(cached)
        return cached is not None

    def _next_batch(self) -> list[PassWork[D]]:
        """Remove from the active passes the one that has waited longest, and those that can share its step.

        After the step they are appended again, so that long passes do not hold up a short one.
        """
        first = self._active[0].active_state
        batch = [work for work in self._active if work.active_state.batch_key == first.batch_key]
        if len(batch) > 1:
            batch = batch[: min(self._max_batch, self._backend.max_passes(first))]
        for work in batch:
            self._active.remove(work)
        return drop_ended(batch)

    def _step(self, batch: Sequence[PassWork[D]]) -> None:
        done: list[PassWork[D]] = []
        # A step that failed half-way must not be repeated; one that ran out of memory has changed nothing.
        for work, state in self._run_batched(batch, self._advance, retry_after=OutOfMemory):
            try:
                work.on_step(state.step, state.steps)
            except Exception as error:  # noqa: BLE001 - it fails the request that listens, and no other
                work.fail(error)
                continue
            (done if state.done else self._active).append(work)
        self._pending += self._run_batched(
            done, lambda some: self._backend.finish([work.active_state for work in some])
        )

    def _take_pictures(self) -> None:
        """End the passes whose pictures have arrived; wait for one only where nothing else is to be done."""
        busy = bool(self._active) or not self._inbox.empty()
        for pair in tuple(self._pending):
            work, picture = pair
            if busy and not picture.ready():
                continue
            busy = True
            self._pending.remove(pair)
            for _, pixels in self._run_batched([work], lambda _, picture=picture: [picture.pixels()]):
                if isinstance(work.call, Generate):
                    self.generated.put(work.call, pixels)
                work.end(pixels)

    def _advance(self, batch: Sequence[PassWork[D]]) -> list[D]:
        states = [work.active_state for work in batch]
        self._backend.advance(states)
        return states

    def _run_batched(
        self,
        works: Sequence[W],
        run: Callable[[Sequence[W]], Sequence[R]],
        *,
        retry_after: type[Exception] = Exception,
    ) -> list[tuple[W, R]]:
        """As `batches.run_batched`, and the watchdog sees each call."""

        def run_watched(some: Sequence[W]) -> Sequence[R]:
            self._call_began = time.monotonic()
            try:
                return run(some)
            finally:
                self._call_began = None

        return run_batched(works, run_watched, max_batch=self._max_batch, retry_after=retry_after)
