"""Admission of requests, one thread for each picture, and the device loop they share."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Generic

import structlog

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import (
    DiffusionCall,
    FindProduct,
    Generate,
    Inpaint,
    MaskLogits,
    ModelResult,
    Segment,
    SingleCall,
)
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import Advert, OnProgress, Progress
from inpaint_server.engine.backend import D, ModelBackend
from inpaint_server.engine.device_loop import DeviceLoop
from inpaint_server.engine.job import Job
from inpaint_server.engine.part_pool import PartPool
from inpaint_server.engine.products import ProductFinder
from inpaint_server.engine.work import PassWork, SingleCallWork
from inpaint_server.errors import Draining, InpaintServerError, Internal, Overloaded
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.pipeline import compose

log = structlog.get_logger(__name__)
RETRY_AFTER_S = 5
IDLE_S = 1.0
"""Long enough that an idle listener never delays a client that sends its requests one after the other."""


class Engine(Generic[D]):
    """Owns the device for as long as the process lives.

    Args:
        backend: The models.
        queue: Requests that may wait for their first part to start.
        max_batch: Pictures that share one model evaluation, and (plus one) requests in progress at a time.
        background_cache_bytes: Bytes of generated backgrounds kept.
        mask_cache_bytes: Bytes of found masks kept.
        call_timeout_s: Seconds after which a model call is taken to hang, and the device to have failed.
    """

    def __init__(
        self,
        backend: ModelBackend[D],
        *,
        queue: int,
        max_batch: int,
        background_cache_bytes: int = 0,
        mask_cache_bytes: int = 0,
        call_timeout_s: float = math.inf,
    ) -> None:
        self._backend = backend
        self._on_idle: Callable[[], object] = lambda: None
        self._idle_timer = threading.Timer(IDLE_S, self._on_idle)
        self._device_failed = threading.Event()
        self._failure_listeners: list[Callable[[], object]] = []
        self._device = DeviceLoop(
            backend,
            max_batch=max_batch,
            cache_bytes=background_cache_bytes,
            call_timeout_s=call_timeout_s,
            on_failure=self._report_device_failure,
        )
        self._products = ProductFinder(self._call_model, mask_cache_bytes)
        self._pool = PartPool(max_jobs=max_batch + 1, max_parts=max_batch)
        self._queue = queue
        self._lock = threading.Lock()
        self._waiting = 0
        self._in_progress = 0
        self._draining = False
        self._device.start()

    def submit(self, request: AdvertRequest, *, deadline_s: float, on_progress: OnProgress = lambda _: None) -> Job:
        """Admit a request; its `answer` is a future.

        Raises:
            Overloaded: the queue is full.
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
            self._check_admission()
            self._waiting += 1
            self._in_progress += 1
            self._idle_timer.cancel()
            # The product goes into the pool before the pictures that wait for it: the other order could deadlock.
            parts = [] if request.photo is None else [self._find_product]
            parts += [partial(self._run_picture, index=index) for index in range(pictures)]
            self._pool.submit(job, [partial(self._run, job, part) for part in parts])
        return job

    def call_when_idle(self, listener: Callable[[], object]) -> None:
        """Have a function called, on a thread of its own, each time no request has been in progress for a second."""
        self._on_idle = listener

    def call_on_device_failure(self, listener: Callable[[], object]) -> None:
        """Have a function called when the device has failed for good; at once if it has already."""
        with self._lock:
            self._failure_listeners.append(listener)
        if self._device_failed.is_set():
            listener()

    def _report_device_failure(self) -> None:
        self._device_failed.set()
        with self._lock:
            listeners = list(self._failure_listeners)
        for listener in listeners:
            listener()

    def caches(self) -> dict[str, CacheStats]:
        """Statistics of the caches by name: `backgrounds`, `masks`, and the backend's own."""
        return {
            "backgrounds": self._device.generated.stats,
            "masks": self._products.masks.stats,
            **self._backend.caches(),
        }

    @property
    def waiting(self) -> int:
        """Requests admitted whose first part has not started."""
        return self._waiting

    def check_admission(self) -> None:
        """Raise what `submit` would raise now, so that no picture is decoded in vain.

        Raises:
            InpaintServerError: as `submit`.
        """
        with self._lock:
            self._check_admission()

    def drain(self) -> None:
        """Take no new work, finish what was admitted, and stop."""
        with self._lock:
            self._draining = True
            self._idle_timer.cancel()
        self._pool.close()
        self._device.stop()

    def _check_admission(self) -> None:
        if self._draining:
            raise Draining("The server is stopping: send the request again soon.", retry_after=RETRY_AFTER_S)
        if self._waiting >= self._queue:
            raise Overloaded(
                f"{self._queue} requests are waiting already: send this one again later.", retry_after=RETRY_AFTER_S
            )

    def _run(self, job: Job, part: Callable[[Job], None]) -> None:
        """Run one part of a job; an error in one part ends the whole job."""
        try:
            self._mark_started(job)
            part(job)
        except InpaintServerError as error:
            job.end(error)
        except Exception:
            log.exception("request_part_failed")
            job.end(Internal("The server failed; search its log for the request id."))
        finally:
            if job.part_ended():
                self._job_ended()

    def _job_ended(self) -> None:
        with self._lock:
            self._in_progress -= 1
            if self._in_progress == 0 and not self._draining:
                self._idle_timer = threading.Timer(IDLE_S, self._on_idle)
                self._idle_timer.daemon = True
                self._idle_timer.start()

    def _mark_started(self, job: Job) -> None:
        with self._lock:
            if job.started is None:
                job.started = time.monotonic()
                self._waiting -= 1

    def _find_product(self, job: Job) -> None:
        photo = job.request.photo
        assert photo is not None, "this part is started only for requests with a photo"
        try:
            job.raise_if_ended()
            job.product.set_result(self._products.find(job, photo))
        except Exception as error:
            job.product.set_exception(error)
            raise

    def _run_picture(self, job: Job, index: int) -> None:
        job.picture_started()
        try:
            self._compose(job, index)
        finally:
            self._device.submit(*job.picture_ended())

    def _compose(self, job: Job, index: int) -> None:
        """Drive the pipeline of one picture: run every model call that it yields, and send the result back to it."""
        pipeline = compose(job.request, job.request.seeds[index])
        result: ModelResult | None = None
        number = 0
        while True:
            job.raise_if_ended()
            began = time.perf_counter()
            try:
                call = next(pipeline) if result is None else pipeline.send(result)
            except StopIteration as end:
                job.adverts[index] = self._with_prompt_warnings(job.request, end.value)
                job.add_time("composite", (time.perf_counter() - began) * 1000)
                return
            if isinstance(call, FindProduct):
                result = job.product.result()
                continue
            if isinstance(call, Segment):
                result = self._segment_finished(job, call)
                continue
            if not isinstance(call, Generate | Inpaint):
                result = self._call_model(job, call, "composite")
                continue
            number = number + 1 if isinstance(call, Inpaint) else 0
            result = self._run_pass(job, call, index, f"pass {number}" if number else "background")

    def _with_prompt_warnings(self, request: AdvertRequest, advert: Advert) -> Advert:
        warnings = [
            f"Shorten the prompt that begins with `{prompt[:39]}`: from `{word[:40]}` on it was too long to be used."
            for prompt in request.prompts
            if (word := self._backend.first_unused_word(prompt)) is not None
        ]
        return replace(advert, warnings=(*advert.warnings, *warnings))

    def _call_model(self, job: Job, call: SingleCall, stage: str) -> ModelResult:
        job.raise_if_ended()
        prepared = self._backend.prepare(call) if isinstance(call, Segment) else call
        work = SingleCallWork(call=prepared, raise_if_ended=job.raise_if_ended)
        self._device.submit(work)
        return _result(job, work, stage)

    def _segment_finished(self, job: Job, call: Segment) -> ModelResult:
        """Segment a finished picture, in one model call with the request's other pictures that are in progress."""
        job.raise_if_ended()
        work = SingleCallWork(call=self._backend.prepare(call), raise_if_ended=job.raise_if_ended)
        self._device.submit(*job.gather_inspection(work))
        return _result(job, work, "composite")

    def _run_pass(self, job: Job, call: DiffusionCall, index: int, stage: str) -> Pixels:
        def on_step(step: int, steps: int) -> None:
            job.on_progress(Progress(picture=index, stage=stage, step=step, steps=steps))

        work: PassWork[D] = PassWork(call=call, raise_if_ended=job.raise_if_ended, on_step=on_step)
        self._device.submit(work)
        done = work.future.result()
        job.add_time(stage, done.milliseconds)
        return done.pixels


def _result(job: Job, work: SingleCallWork, stage: str) -> ModelResult:
    """Wait for a call's result; masks are enlarged here, on the thread that asked for them."""
    done = work.future.result()
    job.add_time(stage, done.milliseconds)
    if not isinstance(done.result, MaskLogits):
        return done.result
    began = time.perf_counter()
    proposals = propose_masks(done.result)
    job.add_time(stage, (time.perf_counter() - began) * 1000)
    return proposals
