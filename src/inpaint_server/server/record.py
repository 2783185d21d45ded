"""What is told of one request once it is over: its line in the log, and what the metrics count."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from inpaint_server.domain.request import AdvertRequest
from inpaint_server.domain.results import Timings
from inpaint_server.errors import InpaintServerError

OK: Final = "ok"
_TRACES: Final = ("x-amzn-trace-id", "traceparent")
_INFERENCE_ID: Final = "x-amzn-sagemaker-inference-id"
_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_HARMLESS: Final = re.compile(r"[\w.:;=-]{1,256}", re.ASCII)


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One request from its arrival to its answer. Neither its picture nor what its headers say freely is ever told.

    Attributes:
        request_id: In the log, in the answer's header and in its body.
        trace: The caller's trace id, where it sent a harmless one.
        inference_id: SageMaker's own id of the request, likewise.
        line: Which line of a JSON Lines body this is, from 1; None for a whole body.
        lines: Of a JSON Lines body, how many requests it held; they have records of their own.
        request: What was asked, once it is understood.
        stages: Seconds spent in each stage so far.
        error: What it was refused with.
        status: The answer's HTTP status.
        bytes_in: The body's length.
        bytes_out: The answer's length.
        seconds: From arrival to answer; 0 until it is over.
    """

    request_id: str
    trace: str | None = None
    inference_id: str | None = None
    line: int | None = None
    lines: int | None = None
    request: AdvertRequest | None = None
    stages: dict[str, float] = field(default_factory=dict[str, float])
    error: InpaintServerError | None = None
    status: int = 200
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    _begun: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Record:
        """The record of a request that has just arrived; headers have lower-case names."""
        trace = next((headers[name] for name in _TRACES if name in headers), None)
        inference_id = headers.get(_INFERENCE_ID)
        return cls(request_id=request_id_of(headers), trace=_harmless(trace), inference_id=_harmless(inference_id))

    def of_line(self, number: int, length: int) -> Record:
        """The record of one line of this request's body."""
        return Record(
            request_id=self.request_id,
            trace=self.trace,
            inference_id=self.inference_id,
            line=number,
            bytes_in=length,
        )

    @property
    def code(self) -> str:
        """How it went: `ok`, or the error's code."""
        return OK if self.error is None else self.error.code

    @property
    def counts(self) -> bool:
        """Whether it counts as a request: a JSON Lines body that was answered counts through its lines."""
        return self.lines is None or self.error is not None

    @property
    def task(self) -> str:
        """What was asked for; `unknown` where the request was refused before it was understood."""
        return "unknown" if self.request is None else self.request.task

    @property
    def pictures(self) -> int:
        """How many pictures were asked for."""
        return 0 if self.request is None else len(self.request.seeds)

    @contextmanager
    def timed(self, stage: str) -> Generator[None]:
        """Count the time until its end as spent in a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = time.perf_counter() - begun

    def spent(self, timings: Timings) -> None:
        """Take over where the engine's time went."""
        single = ("queue", "segment", "background", "composite")
        self.stages |= {name: getattr(timings, name) / 1000 for name in single}
        self.stages["passes"] = sum(timings.passes) / 1000

    def end(self, *, status: int, bytes_out: int) -> None:
        """It is over."""
        self.status, self.bytes_out = status, bytes_out
        self.seconds = time.perf_counter() - self._begun

    def fields(self, *, prompts: bool) -> dict[str, object]:
        """Its line in the log; prompts only where the operator asks for them."""
        told: dict[str, object] = {
            "request_id": self.request_id,
            "trace": self.trace,
            "inference_id": self.inference_id,
            "line": self.line,
            "lines": self.lines,
            "status": self.status,
            "code": self.code,
            "field": None if self.error is None else self.error.field,
            **self._asked(),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "stages_ms": {name: round(seconds * 1000, 1) for name, seconds in self.stages.items()},
            "ms": round(self.seconds * 1000, 1),
            **(self._prompts() if prompts else {}),
        }
        return {name: value for name, value in told.items() if value is not None}

    def _asked(self) -> dict[str, object]:
        request = self.request
        if request is None:
            return {}
        return {
            "task": request.task,
            "seed": request.seeds[0],
            "images": len(request.seeds),
            "size": [request.canvas.width, request.canvas.height],
            "photo": None if request.photo is None else [request.photo.shape[1], request.photo.shape[0]],
        }

    def _prompts(self) -> dict[str, object]:
        request = self.request
        if request is None:
            return {}
        return {
            "prompts": [request.background_prompt, *(layer.prompt for layer in request.layers)],
            "negative_prompt": request.negative_prompt,
        }


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's own id where it sent a harmless one, else a new one."""
    given = headers.get("x-request-id") or headers.get(_INFERENCE_ID) or ""
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _harmless(text: str | None) -> str | None:
    """A caller's text as a log may hold it, or nothing."""
    return text if text and _HARMLESS.fullmatch(text) else None
