"""The engine's HTTP application: the two routes, and its state while it loads, serves and drains."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from inpaint_server import __version__, errors
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import Answer
from inpaint_server.engine.job import TOO_SLOW
from inpaint_server.server.disconnect import after, cancel_when, disconnected, once_set
from inpaint_server.server.loading import Loaded, load
from inpaint_server.server.metrics import Metrics, embedded_metrics
from inpaint_server.server.record import RequestRecord, request_id_of
from inpaint_server.server.responses import http_error, routes, to_response
from inpaint_server.settings import Settings
from inpaint_server.wire.bodies import split_lines
from inpaint_server.wire.decode import ParsedRequest
from inpaint_server.wire.describe import compact_json
from inpaint_server.wire.encode import EncodedResponse, choose_answer, encode_error, encode_response
from inpaint_server.wire.encodings import check_body_size, check_reply_size, decompressed
from inpaint_server.wire.media_types import JSON, JSON_LINES, choose_media_type, content_type

if TYPE_CHECKING:
    from collections.abc import Generator

log = structlog.get_logger(__name__)
T = TypeVar("T")

WORKING_FRACTION: Final = 0.9
"""Of the time for draining; after it, work still in progress is ended."""
WRITING_FRACTION: Final = 0.97
"""Of the time for draining; after it, answers that their callers have not read are given up."""
_SLOW_BODY: Final = "The request's body did not arrive in time: send a smaller one, or raise INPAINT_DEADLINE_S."


class EngineApp:
    """The two routes, and the state of the process behind them.

    Args:
        settings: What the operator decided.
        loading: Loads and warms the models; default: those of the settings' bundle.
    """

    def __init__(self, settings: Settings, loading: Callable[[Settings], Loaded] = load) -> None:
        self.settings = settings
        self.state: Literal["loading", "ready", "draining", "failed"] = "loading"
        self.metrics = Metrics()
        self._loading = loading
        self._running = 0
        self._loaded: Loaded | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = asyncio.Event()
        self._stopped = asyncio.Event()
        self._decoders = ThreadPoolExecutor(settings.max_batch, "decode")
        self._encoders = ThreadPoolExecutor(settings.max_batch, "encode")
        self.metrics.gauge("inpaint_in_flight", "Requests being answered.", lambda: self._running)
        self.metrics.gauge("inpaint_waiting", "Requests in the queue.", self._waiting)
        self.metrics.caches(lambda: {} if self._loaded is None else self._loaded.engine.caches())
        self.asgi = Starlette(
            routes=[*routes("/ping", "GET", self._ping), *routes("/invocations", "POST", self._invocations)],
            exception_handlers={HTTPException: http_error},
        )
        self.asgi.router.redirect_slashes = False

    def load(self, on_failure: Callable[[], object]) -> None:
        """Load and warm the models on a thread of their own; `state` becomes `ready` or `failed`.

        Args:
            on_failure: Called, on another thread, when they do not load and when their device fails for good.
        """

        def fail() -> None:
            self.state = "failed"
            on_failure()

        def work() -> None:
            try:
                self._loaded = self._loading(self.settings)
            except errors.InpaintServerError as error:
                log.error("load_failed", reason=error.message)  # noqa: TRY400 - a sentence, not a traceback
            except Exception:
                log.exception("load_failed")
            if self._loaded is None:
                fail()
                return
            if self.state == "loading":
                self.state = "ready"
                log.info("engine_ready", **dataclasses.asdict(self._loaded.card))
            self._loaded.engine.call_on_device_failure(fail)

        threading.Thread(target=work, name="load", daemon=True).start()

    async def drain(self) -> None:
        """Refuse new requests and bodies not yet read, finish what has begun, and end it where that takes too long.

        The last tenth of `drain_s` is left for the responses to reach their callers.
        """
        self.state = "draining"
        self._draining.set()
        try:
            await asyncio.wait_for(self._idle.wait(), WORKING_FRACTION * self.settings.drain_s)
        except TimeoutError:
            log.warning("drain_timed_out", running=self._running)
            self._stopped.set()
            await self._idle.wait()

    def _waiting(self) -> int:
        return 0 if self._loaded is None else self._loaded.engine.waiting

    async def _ping(self, request: Request) -> Response:
        body = {"status": self.state, "version": __version__, "revision": self.settings.revision}
        status = 200 if self.state == "ready" else 503
        encoded = EncodedResponse(status=status, body=compact_json(body), media_type=JSON, headers={})
        return to_response(encoded, request_id_of(request.headers))

    async def _invocations(self, request: Request) -> Response:
        record = RequestRecord.of(request.headers)
        structlog.contextvars.bind_contextvars(request_id=record.request_id)
        with self._in_progress():
            encoded = await self._respond(self._serve(request, record), record)
        self._log_and_count(record, encoded)
        return to_response(encoded, record.request_id)

    @contextmanager
    def _in_progress(self) -> Generator[None]:
        """Counts a request as in progress while it is entered."""
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()

    def _log_and_count(self, record: RequestRecord, encoded: EncodedResponse) -> None:
        record.finish(status=encoded.status, bytes_out=len(encoded.body))
        self.metrics.count(record)
        fields = record.fields(prompts=self.settings.log_prompts)
        log.info("request", **fields, **embedded_metrics(record, self.settings.emf_namespace))

    async def _respond(self, work: Awaitable[EncodedResponse], record: RequestRecord) -> EncodedResponse:
        """The result of the work, or the response to the error it raised."""
        try:
            return await work
        except errors.InpaintServerError as error:
            record.error = error
        except ClientDisconnect:
            record.error = errors.ClientGone("Send the whole body.")
        except Exception:
            log.exception("request_failed")
            record.error = errors.Internal("The server failed; look for this request_id in its log.")
        return encode_error(record.error, record.request_id)

    async def _serve(self, request: Request, record: RequestRecord) -> EncodedResponse:
        self._check_open()
        headers = dict(request.headers)
        accept = headers.get("accept", "")
        choose_media_type(accept)
        body = await self._body(request, record)
        if content_type(headers) == JSON_LINES:
            work = self._serve_lines(body, record)
        else:
            room = self.settings.max_reply_bytes
            work = self._serve_one(lambda loaded: loaded.reader.read(body, headers), record, accept, lambda: room)
        return await cancel_when(work, disconnected(request))

    async def _body(self, request: Request, record: RequestRecord) -> bytes:
        """The body, decompressed, unless it does not arrive before the deadline, or before the server stops."""
        late = after(self._seconds_left(record), errors.DeadlineExceeded(_SLOW_BODY))
        return await cancel_when(self._read_body(request, record), late, once_set(self._draining, _draining()))

    async def _read_body(self, request: Request, record: RequestRecord) -> bytes:
        """The body, read to its end, as callers read no answer before, but kept only up to the limit."""
        limit = self.settings.max_body_bytes
        body = bytearray()
        async for chunk in request.stream():
            record.bytes_in += len(chunk)
            if record.bytes_in <= limit:
                body += chunk
        check_body_size(record.bytes_in, limit)
        sent, headers = bytes(body), dict(request.headers)
        if "content-encoding" not in headers:
            return sent
        return await _in_thread(self._decoders, lambda: decompressed(sent, headers, limit))

    async def _serve_lines(self, body: bytes, record: RequestRecord) -> EncodedResponse:
        """Every line is a request of its own, begun when a slot is free; answers are in the order of the lines.

        A line whose answer no longer fits into the response is answered with that error; the others are not lost.
        """
        slots = asyncio.Semaphore(self.settings.max_batch)
        lines = split_lines(body)
        record.lines = len(lines)
        room = self.settings.max_reply_bytes

        async def answer(number: int, line: bytes) -> bytes:
            nonlocal room
            async with slots:
                answered = await self._serve_line(line, record.of_line(number, len(line)), lambda: room)
            room -= len(answered)
            return answered

        answers = await asyncio.gather(*(answer(number, line) for number, line in enumerate(lines, start=1)))
        return EncodedResponse(body=b"".join(answers), media_type=JSON_LINES, headers={})

    async def _serve_line(self, line: bytes, record: RequestRecord, room: Callable[[], int]) -> bytes:
        work = self._serve_one(lambda loaded: loaded.reader.read_line(line), record, JSON_LINES, room)
        encoded = await self._respond(work, record)
        self._log_and_count(record, encoded)
        return encoded.body.rstrip(b"\n") + b"\n"

    async def _serve_one(
        self, read: Callable[[Loaded], ParsedRequest], record: RequestRecord, accept: str, room: Callable[[], int]
    ) -> EncodedResponse:
        """One request or line, unless its deadline passes or the server stops first; `room`: for its answer, bytes."""
        loaded = self._check_open()
        if self._seconds_left(record) <= 0:
            raise errors.DeadlineExceeded(TOO_SLOW)
        late = after(self._seconds_left(record), errors.DeadlineExceeded(TOO_SLOW))
        stopped = errors.Draining("The server stopped before the request was done: send it again.", retry_after=5)
        encoded = await cancel_when(self._work(loaded, read, record, accept), late, once_set(self._stopped, stopped))
        check_reply_size(len(encoded.body), room(), self.settings.max_reply_bytes)
        return encoded

    async def _work(
        self, loaded: Loaded, read: Callable[[Loaded], ParsedRequest], record: RequestRecord, accept: str
    ) -> EncodedResponse:
        def decode() -> ParsedRequest:
            loaded.engine.check_admission()
            return read(loaded)

        with record.timed("decode"):
            parsed = await _in_thread(self._decoders, decode)
        record.request = parsed.request
        media_type = choose_answer(parsed, accept)
        answer = await self._answer(loaded, parsed.request, record)
        record.add_timings(answer.timings)
        decode_ms = record.stages["decode"] * 1000
        completed = loaded.complete(parsed, answer, request_id=record.request_id, decode_ms=decode_ms)
        with record.timed("encode"):
            return await _in_thread(self._encoders, lambda: encode_response(completed, media_type))

    async def _answer(self, loaded: Loaded, request: AdvertRequest, record: RequestRecord) -> Answer:
        """The engine's answer; cancelled, the job ends at its next step."""
        job = loaded.engine.submit(request, deadline_s=self._seconds_left(record))
        answer = asyncio.wrap_future(job.answer)
        answer.add_done_callback(_retrieve_exception)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            job.end(errors.ClientGone("Nobody waits for the answer any more."))
            raise
        finally:
            record.stages["queue"] = (job.started or time.monotonic()) - job.admitted

    def _check_open(self) -> Loaded:
        """The models; raises while they are loaded, and once the server is stopping."""
        if self._draining.is_set():
            raise _draining()
        if self._loaded is None:
            raise errors.Overloaded("The models are still loading: send the request again soon.", retry_after=5)
        return self._loaded

    def _seconds_left(self, record: RequestRecord) -> float:
        return self.settings.deadline_s - record.age_s


def _draining() -> errors.Draining:
    return errors.Draining("The server is stopping: send the request again soon.", retry_after=5)


def _in_thread(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
    """Run work on a thread of the pool; cancelled, it is abandoned, and never begun if it has not yet."""
    context = contextvars.copy_context()
    return asyncio.get_running_loop().run_in_executor(pool, context.run, work)


def _retrieve_exception(answer: asyncio.Future[Answer]) -> None:
    """Mark an error as handled that comes after its caller disconnected; asyncio would log it as never retrieved."""
    if not answer.cancelled():
        answer.exception()
