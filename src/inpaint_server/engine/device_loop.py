"""The one thread that owns the device: it takes works in, batches those that fit together, advances them in turn.

A pass can join at any step and leave at any step. After each step its owner may have gone (cancelled, past its
deadline): then it is dropped and the device is free for the others.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog

from inpaint_server.cache import Cache
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, Generate, Score, Segment, Upscale
from inpaint_server.engine.backend import D, ModelBackend
from inpaint_server.engine.work import PassWork, SingleCallWork, SingleResult
from inpaint_server.errors import InpaintServerError, OutOfMemory

log = structlog.get_logger(__name__)
W = TypeVar("W", bound=PassWork[Any] | SingleCallWork)
R = TypeVar("R")


class DeviceLoop(Generic[D]):
    """Runs on a thread of its own from `start` to `stop`.

    Args:
        painter: The models.
        max_batch: Works that share a model call, at most; fewer where memory was measured to hold fewer.
        cache_bytes: Bytes of generated pictures kept: the same words, seed and settings are not painted twice.
    """

    def __init__(self, painter: ModelBackend[D], *, max_batch: int, cache_bytes: int = 0) -> None:
        self.generated: Cache[Generate, Pixels] = Cache(cache_bytes, lambda kept: kept.nbytes)
        self._painter = painter
        self._max_batch = max_batch
        self._looks: dict[type, Callable[[Sequence[Any]], Sequence[Any]]] = {
            Segment: painter.segment,
            Score: painter.score,
            CheckSafety: painter.check_safety,
            Upscale: painter.upscale,
        }
        self._inbox: queue.SimpleQueue[PassWork[D] | SingleCallWork | None] = queue.SimpleQueue()
        self._stopping = False
        self._active: deque[PassWork[D]] = deque()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is active, then end; call once nothing more will be submitted."""
        self._inbox.put(None)
        self._thread.join()

    def submit(self, work: PassWork[D] | SingleCallWork) -> None:
        """Hand a work in; its future tells how it went."""
        self._inbox.put(work)

    def _run(self) -> None:
        # Each turn in a call of its own: while the thread waits for work it must not hold what it worked on last.
        while self._active or not self._stopping:
            self._turn()

    def _turn(self) -> None:
        """What waits begins together, looks of one kind in one call; then one step of one batch."""
        waiting = self._take_in()
        for kind, call in self._looks.items():
            self._look(
                [work for work in waiting if isinstance(work, SingleCallWork) and isinstance(work.ask, kind)], call
            )
        self._begin([work for work in waiting if isinstance(work, PassWork)])
        if self._active:
            self._step(self._next_batch())

    def _take_in(self) -> list[PassWork[D] | SingleCallWork]:
        """Everything that waits; blocks only while there is nothing else to do."""
        waiting: list[PassWork[D] | SingleCallWork] = []
        while not self._stopping:
            try:
                work = self._inbox.get(block=not (self._active or waiting))
            except queue.Empty:
                break
            if work is None:
                self._stopping = True
            else:
                waiting.append(work)
        return waiting

    def _look(self, works: Sequence[SingleCallWork], call: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        begun = time.perf_counter()
        wanted = [work for work in works if _still_wanted(work)]
        for work, made in self._together(wanted, lambda some: call([one.ask for one in some])):
            work.future.set_result(SingleResult(made=made, milliseconds=(time.perf_counter() - begun) * 1000))

    def _begin(self, works: Sequence[PassWork[D]]) -> None:
        for work in works:
            work.begun = time.perf_counter()
        wanted = [work for work in works if _still_wanted(work) and not self._known(work)]
        for work, denoising in self._together(wanted, lambda some: self._painter.begin([one.ask for one in some])):
            work.denoising = denoising
            self._active.append(work)

    def _known(self, work: PassWork[D]) -> bool:
        """Whether the very same picture was kept; it is handed over."""
        kept = self.generated.get(work.ask) if isinstance(work.ask, Generate) else None
        if kept is not None:
            work.end(kept)
        return kept is not None

    def _next_batch(self) -> list[PassWork[D]]:
        """Take the pass that has waited longest out of the line, with those that can share its step.

        After the step they go to the end of the line: a short pass beside long ones is not held up by them.
        """
        first = self._active[0].under_way
        batch = [work for work in self._active if work.under_way.batch_key == first.batch_key]
        if len(batch) > 1:
            batch = batch[: min(self._max_batch, self._painter.room(first))]
        for work in batch:
            self._active.remove(work)
        return [work for work in batch if _still_wanted(work)]

    def _step(self, batch: Sequence[PassWork[D]]) -> None:
        ended: list[PassWork[D]] = []
        # A step that failed half-way must not be made twice; one that did not fit has not begun.
        for work, denoising in self._together(batch, self._advance, again_after=OutOfMemory):
            try:
                work.on_step(denoising.step, denoising.steps)
            except Exception as error:  # noqa: BLE001 - its owner's; the device goes on for the others
                work.fail(error)
                continue
            (ended if denoising.done else self._active).append(work)
        for work, pixels in self._together(ended, lambda some: self._painter.finish([one.under_way for one in some])):
            if isinstance(work.ask, Generate):
                self.generated.put(work.ask, pixels)
            work.end(pixels)

    def _advance(self, batch: Sequence[PassWork[D]]) -> list[D]:
        passes = [work.under_way for work in batch]
        self._painter.advance(passes)
        return passes

    def _together(
        self,
        works: Sequence[W],
        call: Callable[[Sequence[W]], Sequence[R]],
        *,
        again_after: type[Exception] = Exception,
    ) -> list[tuple[W, R]]:
        """One call for all works, or where it fails one for each half: what fits is made, and who fails is found.

        Args:
            works: Any number of them.
            call: Makes what each of up to a batch of works waits for.
            again_after: Failures after which halves are tried; whom any other befalls is told.

        Returns:
            Each work that succeeded, with what was made for it.
        """
        if not works:
            return []
        if len(works) <= self._max_batch:
            try:
                return list(zip(works, call(works), strict=True))
            except Exception as error:  # noqa: BLE001 - told to those who asked; the device goes on
                # The failed call's frames live on in the error's traceback, and with them what they held.
                traceback.clear_frames(error.__traceback__)
                if len(works) == 1 or not isinstance(error, again_after):
                    for work in works:
                        work.fail(error)
                    return []
                log.warning("batch_halved", works=len(works), after=type(error).__name__)
        half = len(works) // 2
        return [
            pair
            for some in (works[:half], works[half:])
            for pair in self._together(some, call, again_after=again_after)
        ]


def _still_wanted(work: PassWork[D] | SingleCallWork) -> bool:
    try:
        work.stop()
    except InpaintServerError as error:
        work.fail(error)
        return False
    return True
