"""Requests in, answers out: admission, one story per picture, and the device loop they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Generic

import structlog

from inpaint_server.cache import Cache, CacheStats, content_key
from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.calls import (
    DiffusionCall,
    Generate,
    Inpaint,
    MaskProposals,
    ModelResult,
    Segment,
    SingleCall,
)
from inpaint_server.domain.geometry import Box, Point
from inpaint_server.domain.product import Product
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import OnProgress, Progress
from inpaint_server.engine.backend import D, ModelBackend
from inpaint_server.engine.device_loop import DeviceLoop
from inpaint_server.engine.job import Job
from inpaint_server.engine.work import PassWork, SingleCallWork
from inpaint_server.errors import Draining, InpaintServerError, Internal, Overloaded
from inpaint_server.imaging.mask import drop_strays, find_product
from inpaint_server.imaging.matting import refine
from inpaint_server.pipeline import compose

log = structlog.get_logger(__name__)
RETRY_AFTER_S = 5
REST_S = 1.0
"""Long enough that callers who ask one request after the other are not held up by what is done at rest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Mask:
    """What was found in a photo: Segment Anything's own answer, and the product it became."""

    proposals: MaskProposals
    mask: ProductMask
    box: Box

    @property
    def nbytes(self) -> int:
        return self.proposals.masks.nbytes + self.mask.nbytes


class Engine(Generic[D]):
    """Owns the device for as long as the process lives.

    Args:
        painter: The models.
        queue: Requests that may wait for their first part to start.
        max_batch: Pictures that share one model evaluation, and that are under way at a time.
        background_cache_bytes: Bytes of generated backgrounds kept.
        mask_cache_bytes: Bytes of found masks kept.
        at_rest: Called once nothing has been under way for a second, on a thread of its own.
    """

    def __init__(
        self,
        painter: ModelBackend[D],
        *,
        queue: int,
        max_batch: int,
        background_cache_bytes: int = 0,
        mask_cache_bytes: int = 0,
        at_rest: Callable[[], object] = lambda: None,
    ) -> None:
        self._painter = painter
        self._at_rest = at_rest
        self._rest = threading.Timer(REST_S, at_rest)
        self._device = DeviceLoop(painter, max_batch=max_batch, cache_bytes=background_cache_bytes)
        self._masks: Cache[tuple[bytes, tuple[Point, ...], Box | None], _Mask] = Cache(
            mask_cache_bytes, lambda kept: kept.nbytes
        )
        self._pool = ThreadPoolExecutor(max_workers=max_batch + 1, thread_name_prefix="story")
        self._queue = queue
        self._lock = threading.Lock()
        self._waiting = 0
        self._under_way = 0
        self._draining = False
        self._device.start()

    def submit(self, request: AdvertRequest, *, deadline_s: float, on_progress: OnProgress = lambda _: None) -> Job:
        """Admit a request; its `answer` is a future.

        Raises:
            Overloaded: as many requests wait as may.
            Draining: the engine is stopping.
        """
        pictures = 0 if request.task == "mask" else len(request.seeds)
        job = Job(
            request=request,
            deadline=time.monotonic() + deadline_s,
            on_progress=on_progress,
            parts=pictures + (request.photo is not None),
        )
        with self._lock:
            self._refuse_beyond_the_line()
            self._waiting += 1
            self._under_way += 1
            self._rest.cancel()
            # The product goes into the pool before the stories that wait for it, so the pool cannot lock itself up.
            if request.photo is not None:
                self._start(job, self._find_product)
            for index in range(pictures):
                self._start(job, partial(self._tell, index=index))
        return job

    def caches(self) -> dict[str, CacheStats]:
        """What is kept of past requests, by name: `backgrounds`, `masks`, and the painter's own."""
        return {"backgrounds": self._device.generated.stats, "masks": self._masks.stats, **self._painter.caches()}

    @property
    def waiting(self) -> int:
        """Requests admitted whose first part has not started."""
        return self._waiting

    def require_room(self) -> None:
        """Refuse what `submit` would refuse now, before a picture is decoded for nothing.

        Raises:
            InpaintServerError: as `submit`.
        """
        with self._lock:
            self._refuse_beyond_the_line()

    def drain(self) -> None:
        """Take no new work, finish what was admitted, and stop."""
        with self._lock:
            self._draining = True
            self._rest.cancel()
        self._pool.shutdown(wait=True)
        self._device.stop()

    def _refuse_beyond_the_line(self) -> None:
        if self._draining:
            raise Draining("The server is stopping: send the request again soon.", retry_after=RETRY_AFTER_S)
        if self._waiting >= self._queue:
            raise Overloaded(
                f"{self._queue} requests are waiting already: send this one again later.", retry_after=RETRY_AFTER_S
            )

    def _start(self, job: Job, part: Callable[[Job], None]) -> None:
        """Put a part into the pool, in its caller's context: what it logs carries the caller's request id."""
        self._pool.submit(copy_context().run, self._run, job, part)

    def _run(self, job: Job, part: Callable[[Job], None]) -> None:
        """One part of a job; whatever it raises ends the whole job."""
        try:
            self._leave_the_line(job)
            part(job)
        except InpaintServerError as error:
            job.end(error)
        except Exception:
            log.exception("part_failed")
            job.end(Internal("The server failed; look for the request id in its log."))
        finally:
            if job.part_ended():
                self._job_ended()

    def _job_ended(self) -> None:
        with self._lock:
            self._under_way -= 1
            if self._under_way == 0 and not self._draining:
                self._rest = threading.Timer(REST_S, self._at_rest)
                self._rest.daemon = True
                self._rest.start()

    def _leave_the_line(self, job: Job) -> None:
        with self._lock:
            if job.started is None:
                job.started = time.monotonic()
                self._waiting -= 1

    def _find_product(self, job: Job) -> None:
        photo = job.request.photo
        assert photo is not None, "a part that finds the product is only made where there is a photo"
        try:
            job.stop()
            job.product.set_result(self._product(job, photo))
        except Exception as error:
            job.product.set_exception(error)
            raise

    def _product(self, job: Job, photo: Pixels) -> Product:
        """From the mask that was given, from the one found in the same photo before, or from Segment Anything."""
        request = job.request
        if request.mask is not None:
            return find_product(photo, request.mask)
        begun = time.perf_counter()
        key = (content_key(photo), request.points, request.box)
        known = self._masks.get(key)
        if known is None:
            proposals = self._segment(job, photo)
            begun = time.perf_counter()
            product = find_product(photo, refine(photo, drop_strays(proposals.best)))
            known = _Mask(proposals=proposals, mask=product.mask, box=product.box)
            self._masks.put(key, known)
        job.proposals = known.proposals
        job.spent("segment", (time.perf_counter() - begun) * 1000)
        return Product(photo=photo, mask=known.mask, box=known.box)

    def _segment(self, job: Job, photo: Pixels) -> MaskProposals:
        request = job.request
        height, width = photo.shape[:2]
        centre = () if request.box else (Point(x=(width - 1) / 2, y=(height - 1) / 2, label=1),)
        ask = Segment(photo=photo, points=request.points or centre, box=request.box)
        found = self._look(job, ask, "segment")
        assert isinstance(found, MaskProposals), "a mask that was asked for is answered by candidates"
        return found

    def _tell(self, job: Job, index: int) -> None:
        """Drive one picture's story, sending each pass it asks for to the device."""
        job.stop()
        story = compose(job.request, job.request.seeds[index], job.product.result)
        made: ModelResult | None = None
        number = 0
        while True:
            begun = time.perf_counter()
            try:
                ask = next(story) if made is None else story.send(made)
            except StopIteration as end:
                job.adverts[index] = end.value
                job.spent("composite", (time.perf_counter() - begun) * 1000)
                return
            if not isinstance(ask, Generate | Inpaint):
                made = self._look(job, ask, "composite")
                continue
            number = number + 1 if isinstance(ask, Inpaint) else 0
            made = self._paint(job, ask, index, f"pass {number}" if number else "background")

    def _look(self, job: Job, ask: SingleCall, stage: str) -> ModelResult:
        work = SingleCallWork(ask=ask, stop=job.stop)
        self._device.submit(work)
        seen = work.future.result()
        job.spent(stage, seen.milliseconds)
        return seen.made

    def _paint(self, job: Job, ask: DiffusionCall, index: int, stage: str) -> Pixels:
        def on_step(step: int, steps: int) -> None:
            job.on_progress(Progress(picture=index, stage=stage, step=step, steps=steps))

        work: PassWork[D] = PassWork(ask=ask, stop=job.stop, on_step=on_step)
        self._device.submit(work)
        painted = work.future.result()
        job.spent(stage, painted.milliseconds)
        return painted.pixels
