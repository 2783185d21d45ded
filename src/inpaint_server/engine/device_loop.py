"""The one thread that owns the device: it takes works in, batches passes that fit together, advances them in turn.

A pass can join at any step and leave at any step. After each step its owner may have gone (cancelled, past its
deadline): then it is dropped and the device is free for the others.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

import structlog

from inpaint_server.cache import Cache
from inpaint_server.engine.ports import D, Painter
from inpaint_server.errors import InpaintServerError, OutOfMemory
from inpaint_server.types import Candidates, Generate, Pass, Pixels, Segment

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Painted:
    """A pass's pixels and the milliseconds from its first to its last moment on the device."""

    pixels: Pixels
    milliseconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class Found:
    """A mask's candidates and the milliseconds they took."""

    candidates: Candidates
    milliseconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class PassWork(Generic[D]):
    """A pass, for whom it is painted, and how far it is.

    Attributes:
        ask: What to paint.
        stop: Raises where the owner no longer wants it; called before every step.
        on_step: Told (steps done, steps in all) after every step.
        future: Where the pixels go.
    """

    ask: Pass
    stop: Callable[[], None]
    on_step: Callable[[int, int], None]
    future: Future[Painted] = field(default_factory=Future[Painted])
    denoising: D | None = None
    begun: float = 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class SegmentWork:
    """A mask to find, and for whom."""

    ask: Segment
    stop: Callable[[], None]
    future: Future[Found] = field(default_factory=Future[Found])


class DeviceLoop(Generic[D]):
    """Runs on a thread of its own from `start` to `stop`.

    Args:
        painter: The models.
        max_batch: Passes that share a model evaluation, at most.
        cache_bytes: Bytes of generated pictures kept: the same words, seed and settings are not painted twice.
    """

    def __init__(self, painter: Painter[D], *, max_batch: int, cache_bytes: int = 0) -> None:
        self.generated: Cache[Generate, Pixels] = Cache(cache_bytes, lambda kept: kept.nbytes)
        self._painter = painter
        self._max_batch = max_batch
        self._inbox: queue.SimpleQueue[PassWork[D] | SegmentWork | None] = queue.SimpleQueue()
        self._active: deque[PassWork[D]] = deque()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is active, then end; call once nothing more will be submitted."""
        self._inbox.put(None)
        self._thread.join()

    def submit(self, work: PassWork[D] | SegmentWork) -> None:
        """Hand a work in; its future tells how it went."""
        self._inbox.put(work)

    def _run(self) -> None:
        while self._take_in():
            if self._active:
                self._advance(self._next_batch())

    def _take_in(self) -> bool:
        """Take in everything that waits, blocking only while there is nothing else to do; False at the end."""
        while True:
            try:
                work = self._inbox.get(block=not self._active)
            except queue.Empty:
                return True
            if work is None:
                return False
            if isinstance(work, SegmentWork):
                self._segment(work)
            else:
                self._begin(work)

    def _segment(self, work: SegmentWork) -> None:
        begun = time.perf_counter()
        try:
            work.stop()
            candidates = self._painter.segment(work.ask)
        except Exception as error:  # noqa: BLE001 - told to the one who asked; the device goes on
            work.future.set_exception(error)
        else:
            work.future.set_result(Found(candidates=candidates, milliseconds=_since(begun)))

    def _begin(self, work: PassWork[D]) -> None:
        work.begun = time.perf_counter()
        known = self.generated.get(work.ask) if isinstance(work.ask, Generate) else None
        if known is not None:
            work.future.set_result(Painted(pixels=known, milliseconds=_since(work.begun)))
            return
        try:
            work.stop()
            work.denoising = self._painter.begin(work.ask)
        except Exception as error:  # noqa: BLE001
            work.future.set_exception(error)
        else:
            self._active.append(work)

    def _next_batch(self) -> list[PassWork[D]]:
        """The pass that has waited longest and those that can share its step; they go to the end of the line.

        In turn, so that a short pass beside long ones is not held up by them.
        """
        key = _denoising(self._active[0]).batch_key
        batch = [work for work in self._active if _denoising(work).batch_key == key][: self._max_batch]
        for work in batch:
            self._active.remove(work)
        wanted = [work for work in batch if self._still_wanted(work)]
        self._active.extend(wanted)
        return wanted

    def _still_wanted(self, work: PassWork[D]) -> bool:
        try:
            work.stop()
        except InpaintServerError as error:
            work.future.set_exception(error)
            return False
        return True

    def _advance(self, batch: list[PassWork[D]]) -> None:
        """One step for all of a batch; where memory does not hold it, for its halves."""
        if not batch:
            return
        try:
            self._painter.advance([_denoising(work) for work in batch])
        except OutOfMemory as error:
            if len(batch) == 1:
                self._drop(batch[0], error)
                return
            log.warning("batch_halved", pictures=len(batch))
            self._advance(batch[: len(batch) // 2])
            self._advance(batch[len(batch) // 2 :])
        except Exception as error:  # noqa: BLE001
            for work in batch:
                self._drop(work, error)
        else:
            for work in batch:
                self._after_step(work)

    def _after_step(self, work: PassWork[D]) -> None:
        denoising = _denoising(work)
        work.on_step(denoising.step, denoising.steps)
        if not denoising.done:
            return
        self._active.remove(work)
        try:
            pixels = self._painter.finish(denoising)
        except Exception as error:  # noqa: BLE001
            work.future.set_exception(error)
        else:
            if isinstance(work.ask, Generate):
                self.generated.put(work.ask, pixels)
            work.future.set_result(Painted(pixels=pixels, milliseconds=_since(work.begun)))
        work.denoising = None

    def _drop(self, work: PassWork[D], error: Exception) -> None:
        self._active.remove(work)
        work.denoising = None
        work.future.set_exception(error)


def _denoising(work: PassWork[D]) -> D:
    assert work.denoising is not None, "an active work has begun"
    return work.denoising


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
