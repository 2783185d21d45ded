"""The record of one request: its line in the log, and what the metrics count."""

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
_ARRIVED: Final = "x-inpaint-arrived"
"""From the front door alone: when the request's first byte arrived there, milliseconds since 1970."""
_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_MILLISECONDS: Final = re.compile(r"[0-9]{1,15}")
_LOGGABLE: Final = re.compile(r"[\w.:;=-]{1,256}", re.ASCII)


@dataclass(slots=True, kw_only=True, eq=False)
class RequestRecord:
    """One request from its arrival to its answer. Neither its picture nor free text of its headers is logged.

    Attributes:
        request_id: In the log, in the answer's header and in its body.
        trace: The caller's trace id, if it sent a valid one.
        inference_id: SageMaker's own id of the request, likewise.
        line: Which line of a JSON Lines body this is, from 1; None for a whole body.
        lines: Of a JSON Lines body, how many requests it held; they have records of their own.
        request: The resolved request, once it is decoded.
        stages: Seconds spent in each stage so far.
        error: What it failed with; None: it was answered.
        status: The answer's HTTP status.
        bytes_in: The body's length.
        bytes_out: The answer's length.
        seconds: From arrival to answer; 0 until it is finished.
        arrived: When it arrived, seconds on the monotonic clock.
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
    arrived: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> RequestRecord:
        """The record of a request that has just arrived; headers have lower-case names."""
        trace = next((headers[name] for name in _TRACES if name in headers), None)
        inference_id = headers.get(_INFERENCE_ID)
        return cls(
            request_id=request_id_of(headers),
            trace=_loggable(trace),
            inference_id=_loggable(inference_id),
            arrived=time.monotonic() - _seconds_since_arrival(headers.get(_ARRIVED, "")),
        )

    def of_line(self, number: int, length: int) -> RequestRecord:
        """The record of one line of this request's body."""
        return RequestRecord(
            request_id=self.request_id,
            trace=self.trace,
            inference_id=self.inference_id,
            line=number,
            bytes_in=length,
            arrived=self.arrived,
        )

    @property
    def age_s(self) -> float:
        """Seconds since it arrived."""
        return time.monotonic() - self.arrived

    @property
    def code(self) -> str:
        """`ok`, or the error's code."""
        return OK if self.error is None else self.error.code

    @property
    def counts(self) -> bool:
        """Whether it counts as a request: a JSON Lines body that was answered counts through its lines."""
        return self.lines is None or self.error is not None

    @property
    def task(self) -> str:
        """The request's task; `unknown` if it was refused before it was decoded."""
        return "unknown" if self.request is None else self.request.task

    @property
    def pictures(self) -> int:
        """How many pictures were requested."""
        return 0 if self.request is None else len(self.request.seeds)

    @contextmanager
    def timed(self, stage: str) -> Generator[None]:
        """Measures the time of a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = time.perf_counter() - begun

    def add_timings(self, timings: Timings) -> None:
        """Add the engine's stages."""
        single = ("queue", "segment", "background", "composite")
        self.stages |= {name: getattr(timings, name) / 1000 for name in single}
        self.stages["passes"] = sum(timings.passes) / 1000

    def finish(self, *, status: int, bytes_out: int) -> None:
        """Take the answer's status and length, and stop the clock."""
        self.status, self.bytes_out = status, bytes_out
        self.seconds = self.age_s

    def fields(self, *, prompts: bool) -> dict[str, object]:
        """Its line in the log; prompts only where the operator wants them logged."""
        members: dict[str, object] = {
            "request_id": self.request_id,
            "trace": self.trace,
            "inference_id": self.inference_id,
            "line": self.line,
            "lines": self.lines,
            "status": self.status,
            "code": self.code,
            "field": None if self.error is None else self.error.field,
            **self._request_fields(),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "stages_ms": {name: round(seconds * 1000, 1) for name, seconds in self.stages.items()},
            "ms": round(self.seconds * 1000, 1),
            **(self._prompts() if prompts else {}),
        }
        return {name: value for name, value in members.items() if value is not None}

    def _request_fields(self) -> dict[str, object]:
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


def _seconds_since_arrival(milliseconds: str) -> float:
    """How long ago the front door began to read the request; 0 without one, and never negative."""
    return max(0.0, time.time() - int(milliseconds) / 1000) if _MILLISECONDS.fullmatch(milliseconds) else 0.0


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's own id if it sent a valid one, else a new one."""
    given = headers.get("x-request-id") or headers.get(_INFERENCE_ID) or ""
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _loggable(text: str | None) -> str | None:
    """A caller's text if it may be logged, else None."""
    return text if text and _LOGGABLE.fullmatch(text) else None
