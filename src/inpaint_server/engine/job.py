"""One request on its way through the engine: its parts, what may end it early, where its time goes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from inpaint_server.domain.calls import MaskProposals
from inpaint_server.domain.product import Product
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import Advert, Answer, OnProgress, Timings
from inpaint_server.errors import DeadlineExceeded, InpaintServerError


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A request admitted.

    Attributes:
        request: What was asked.
        deadline: When it must be done, on the monotonic clock.
        on_progress: Told of every step, on the device's thread.
        parts: Parts still to end: the search for the product, and each picture.
        answer: The answer, or one of our errors, once every part has ended.
        product: The product, once it is found.
        proposals: What Segment Anything said, where it was asked.
        adverts: The finished pictures by index.
    """

    request: AdvertRequest
    deadline: float
    on_progress: OnProgress
    parts: int
    answer: Future[Answer] = field(default_factory=Future[Answer])
    product: Future[Product] = field(default_factory=Future[Product])
    proposals: MaskProposals | None = None
    adverts: dict[int, Advert] = field(default_factory=dict[int, Advert])
    admitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    ended_by: InpaintServerError | None = None
    _milliseconds: dict[str, float] = field(default_factory=dict[str, float])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self) -> None:
        """Raise what ended this job early, if anything did; called between any two steps."""
        if self.ended_by is None and time.monotonic() > self.deadline:
            self.end(self.too_late())
        if self.ended_by is not None:
            raise self.ended_by

    def end(self, error: InpaintServerError) -> None:
        """End it early: nothing more is painted for it from the next step on. The first reason stays."""
        with self._lock:
            self.ended_by = self.ended_by or error

    def too_late(self) -> DeadlineExceeded:
        """What the caller of a request is told that took too long."""
        return DeadlineExceeded(
            f"The request did not finish in {self.deadline - self.admitted:.0f} s: ask for fewer images, steps or "
            "pixels, or raise INPAINT_DEADLINE_S."
        )

    def spent(self, stage: str, milliseconds: float) -> None:
        """Count time spent on a stage."""
        with self._lock:
            self._milliseconds[stage] = self._milliseconds.get(stage, 0.0) + milliseconds

    def part_ended(self) -> bool:
        """Count one part as ended; the last one gives the answer, and True is returned for it."""
        with self._lock:
            self.parts -= 1
            if self.parts:
                return False
        if self.ended_by is not None:
            self.answer.set_exception(self.ended_by)
        else:
            adverts = tuple(self.adverts[index] for index in sorted(self.adverts))
            product = self.product.result() if self.product.done() else None
            answer = Answer(adverts=adverts, product=product, proposals=self.proposals, timings=self._timings())
            self.answer.set_result(answer)
        return True

    def _timings(self) -> Timings:
        spent = self._milliseconds
        return Timings(
            queue=((self.started or self.admitted) - self.admitted) * 1000,
            segment=spent.get("segment", 0.0),
            background=spent.get("background", 0.0),
            passes=tuple(spent[stage] for stage in sorted(spent) if stage.startswith("pass ")),
            composite=spent.get("composite", 0.0),
            total=(time.monotonic() - self.admitted) * 1000,
        )
