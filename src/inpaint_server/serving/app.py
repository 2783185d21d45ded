"""The engine's own HTTP application: the two routes, and what it says of itself while it loads, works and drains."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Literal

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from inpaint_server import __version__, errors
from inpaint_server.engine.job import Job
from inpaint_server.serving import outgoing
from inpaint_server.serving.incoming import Call
from inpaint_server.serving.load import Loaded, load
from inpaint_server.serving.media_types import JSON, JSON_LINES, choose_media_type, sent_as
from inpaint_server.serving.outgoing import Finished, Reply
from inpaint_server.serving.parsing import check_size, split_lines
from inpaint_server.settings import Settings
from inpaint_server.types import Answer

log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}")
_INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_TRACE_ID = "x-amzn-trace-id"
_HARMLESS = re.compile(r"[\w.:;=-]{1,256}")


class EngineApp:
    """The two routes, and the life of the process behind them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: Literal["loading", "ready", "draining", "failed"] = "loading"
        self._running = 0
        self._jobs: set[Job] = set()
        self._loaded: Loaded | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.asgi = Starlette(
            routes=[
                Route("/ping", self._ping, methods=["GET"]),
                Route("/invocations", self._invocations, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _http_error},
        )

    def load(self, on_failure: Callable[[], object]) -> None:
        """Load and warm the models on a thread of their own; the state tells how it went."""

        def work() -> None:
            try:
                self._loaded = load(self.settings)
            except errors.InpaintServerError as error:
                log.error("load_failed", reason=error.message)  # noqa: TRY400 - a sentence, not a traceback
            except Exception:
                log.exception("load_failed")
            if self._loaded is None:
                self.state = "failed"
                on_failure()
            elif self.state == "loading":
                self.state = "ready"
                log.info("engine_ready", **dataclasses.asdict(self._loaded.card))

        threading.Thread(target=work, name="load", daemon=True).start()

    async def drain(self) -> None:
        """Refuse new work, wait `drain_s` seconds for what runs, and end the rest between two steps."""
        self.state = "draining"
        try:
            await asyncio.wait_for(self._idle.wait(), self.settings.drain_s)
        except TimeoutError:
            log.warning("drain_timed_out", running=self._running)
            for job in self._jobs:
                job.end(errors.Draining("The server stopped before the request was done: send it again."))
            await self._idle.wait()

    async def _ping(self, _: Request) -> Response:
        body = {"status": self.state, "version": __version__, "revision": self.settings.revision}
        status = 200 if self.state == "ready" else 503
        return Response(outgoing.compact_json(body), status_code=status, media_type=JSON)

    async def _invocations(self, request: Request) -> Response:
        request_id = _request_id(request)
        structlog.contextvars.bind_contextvars(request_id=request_id, trace=_harmless(request.headers.get(_TRACE_ID)))
        begun = time.perf_counter()
        self._running += 1
        self._idle.clear()
        try:
            reply = await self._reply(request, request_id)
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()
        log.info("request", status=reply.status, bytes=len(reply.body), ms=_milliseconds(begun))
        return Response(
            reply.body,
            status_code=reply.status,
            media_type=reply.media_type,
            headers={**reply.headers, "X-Request-Id": request_id},
        )

    async def _reply(self, request: Request, request_id: str) -> Reply:
        try:
            return await self._serve(request, request_id)
        except errors.InpaintServerError as error:
            refused = error
        except ClientDisconnect:
            refused = errors.InvalidRequest("Send the whole body.")
        except Exception:
            log.exception("request_failed")
            refused = errors.Internal("The server failed; look for this request_id in its log.")
        structlog.contextvars.bind_contextvars(code=refused.code, field=refused.field)
        return outgoing.error_reply(refused, request_id)

    async def _serve(self, request: Request, request_id: str) -> Reply:
        loaded = self._ready()
        headers = dict(request.headers)
        accept = choose_media_type(headers.get("accept", ""))
        body = await self._body(request)
        if sent_as(headers) == JSON_LINES:
            return await self._serve_lines(loaded, body, request_id)
        begun = time.perf_counter()
        call = await run_in_threadpool(loaded.reader.read, body, headers)
        finished = await self._finish(loaded, call, request_id, _milliseconds(begun))
        return await run_in_threadpool(outgoing.reply, finished, accept)

    async def _serve_lines(self, loaded: Loaded, body: bytes, request_id: str) -> Reply:
        """Every line is a request of its own, decoded when its turn comes; answers keep the lines' order."""
        room = asyncio.Semaphore(self.settings.max_batch)

        async def answer(line: bytes) -> bytes:
            async with room:
                return await self._serve_line(loaded, line, request_id)

        answers = await asyncio.gather(*map(answer, split_lines(body)))
        return Reply(body=b"".join(answer + b"\n" for answer in answers), media_type=JSON_LINES, headers={})

    async def _serve_line(self, loaded: Loaded, line: bytes, request_id: str) -> bytes:
        begun = time.perf_counter()
        try:
            call = await run_in_threadpool(loaded.reader.read_line, line)
            finished = await self._finish(loaded, call, request_id, _milliseconds(begun))
            return await run_in_threadpool(outgoing.json_line, finished)
        except errors.InpaintServerError as error:
            return outgoing.error_line(error, request_id)

    def _ready(self) -> Loaded:
        if self.state == "draining":
            raise errors.Draining("The server is stopping: send the request again soon.", retry_after=5)
        if self._loaded is None:
            raise errors.Overloaded("The models are still loading: send the request again soon.", retry_after=5)
        return self._loaded

    async def _body(self, request: Request) -> bytes:
        """The body, read to its end and kept only up to the limit: a caller still sending would not see the answer."""
        limit = self.settings.max_body_bytes
        body = bytearray()
        length = 0
        async for chunk in request.stream():
            length += len(chunk)
            if length <= limit:
                body += chunk
        check_size(length, limit)
        return bytes(body)

    async def _finish(self, loaded: Loaded, call: Call, request_id: str, decode_ms: float) -> Finished:
        asked = call.request
        structlog.contextvars.bind_contextvars(
            task=asked.task,
            seed=asked.seeds[0],
            images=len(asked.seeds),
            size=[asked.canvas.width, asked.canvas.height],
        )
        answer = await self._answer(loaded, call)
        structlog.contextvars.bind_contextvars(stages_ms=outgoing.rounded(answer.timings))
        return Finished(
            request=asked,
            answer=answer,
            card=loaded.card,
            request_id=request_id,
            decode_ms=decode_ms,
            seed_form=call.seed_form,
        )

    async def _answer(self, loaded: Loaded, call: Call) -> Answer:
        """The engine's answer within the deadline; past it the job ends between two steps and the caller knows now."""
        job = loaded.engine.submit(call.request, deadline_s=self.settings.deadline_s)
        self._jobs.add(job)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(job.answer)), self.settings.deadline_s)
        except TimeoutError:
            job.end(job.too_late())
            raise job.too_late() from None
        finally:
            self._jobs.discard(job)


def _request_id(request: Request) -> str:
    """The caller's own id where it sent a harmless one, else a new one."""
    given = request.headers.get("x-request-id") or request.headers.get(_INFERENCE_ID) or ""
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, as ours."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    refused = (
        errors.MethodNotAllowed("Use POST /invocations or GET /ping.")
        if status == errors.MethodNotAllowed.status
        else errors.NotFound("There is nothing here: use POST /invocations or GET /ping.")
    )
    reply = outgoing.error_reply(refused, _request_id(request))
    return Response(reply.body, status_code=reply.status, media_type=reply.media_type)


def _harmless(text: str | None) -> str | None:
    """A caller's text as a log may hold it, or nothing."""
    return text if text and _HARMLESS.fullmatch(text) else None


def _milliseconds(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)
