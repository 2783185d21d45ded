"""One request in the engine: its parts, what ended it early, and the time each stage took."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from inpaint_server.domain.calls import MaskProposals
from inpaint_server.domain.product import Product
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import Advert, Answer, OnProgress, Timings
from inpaint_server.engine.work import SingleCallWork
from inpaint_server.errors import DeadlineExceeded, InpaintServerError

TOO_SLOW: Final = (
    "The request did not finish in time: ask for fewer images, steps or pixels, or raise INPAINT_DEADLINE_S."
)


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A request that was admitted.

    Attributes:
        request: The request.
        deadline: Time at which it must be done, seconds on the monotonic clock.
        on_progress: Called after every step, on the device's thread.
        parts: Number of parts that have not ended: finding the product, and each picture.
        answer: The answer, or an `InpaintServerError`, once every part has ended.
        product: The product, once it was found.
        proposals: Segment Anything's masks, if it ran or its masks were cached.
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
    _in_progress: int = 0
    _inspections: list[SingleCallWork] = field(default_factory=list[SingleCallWork])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def raise_if_ended(self) -> None:
        """Called before every model call and every step, on whichever thread makes it.

        Raises:
            InpaintServerError: the job was ended early, or its deadline has passed.
        """
        if self.ended_by is None and time.monotonic() > self.deadline:
            self.end(DeadlineExceeded(TOO_SLOW))
        if self.ended_by is not None:
            raise self.ended_by

    def end(self, error: InpaintServerError) -> None:
        """End the job early: no further step is computed for it. The first error is kept."""
        with self._lock:
            self.ended_by = self.ended_by or error

    def add_time(self, stage: str, milliseconds: float) -> None:
        """Add to the time spent on a stage."""
        with self._lock:
            self._milliseconds[stage] = self._milliseconds.get(stage, 0.0) + milliseconds

    def picture_started(self) -> None:
        """A thread begins to compose a picture."""
        with self._lock:
            self._in_progress += 1

    def gather_inspection(self, work: SingleCallWork) -> list[SingleCallWork]:
        """Hold back the call that inspects a finished picture until all pictures in progress have come as far.

        The request is answered when its last picture is done, so the others lose nothing by waiting for it.

        Returns:
            All calls that were held back, if this was the last one; else none.
        """
        with self._lock:
            self._inspections.append(work)
        return self.picture_ended()

    def picture_ended(self) -> list[SingleCallWork]:
        """A thread has ended, with its picture or an error; returns the calls that were held back for it alone."""
        with self._lock:
            self._in_progress -= 1
            if self._in_progress:
                return []
            together, self._inspections = self._inspections, []
            self._in_progress = len(together)  # a candidate's inspection may be followed by the next candidate
            return together

    def part_ended(self) -> bool:
        """Count one part as ended; the last one sets `answer`. Returns whether it was the last."""
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
