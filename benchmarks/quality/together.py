"""Pipelines run side by side on the models themselves, without engine or server; what can share a call shares it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, Generate, Score, Segment, Upscale
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.models.backend import TorchBackend
from inpaint_server.pipeline import PipelineSteps
from testing.passes import decoded

T = TypeVar("T")


def run_together(backend: TorchBackend, pipelines: Sequence[PipelineSteps[T]]) -> list[T]:
    """What each pipeline returns, in order."""
    methods: dict[type, Any] = {
        Segment: lambda calls: [propose_masks(found) for found in backend.segment(calls)],
        Score: backend.score,
        CheckSafety: backend.check_safety,
        Upscale: backend.upscale,
    }
    methods[Generate] = lambda calls: _generate(backend, calls)
    returned: dict[int, T] = {}
    calls: dict[int, Any] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(pipelines)))
    while answers:
        for index, answer in answers.items():
            try:
                calls[index] = pipelines[index].send(answer)
            except StopIteration as end:
                returned[index] = end.value
        kind = type(next(iter(calls.values()))) if calls else None
        alike = [index for index, call in calls.items() if type(call) is kind]
        some = [calls.pop(index) for index in alike]
        method = methods.get(kind, lambda passes: paint(backend, passes)) if kind else None
        answers = dict(zip(alike, method(some), strict=True)) if method else {}
    return [returned[index] for index in range(len(pipelines))]


def _generate(backend: TorchBackend, calls: Sequence[Generate]) -> list[Pixels]:
    """Backgrounds; what several pipelines call for is painted once."""
    distinct = list(dict.fromkeys(calls))
    painted = dict(zip(distinct, paint(backend, distinct), strict=True))
    return [painted[call] for call in calls]


def paint(backend: TorchBackend, passes: Sequence[DiffusionCall]) -> list[Pixels]:
    """Passes from their first step to their pixels, those that can in one evaluation."""
    under_way = backend.begin(passes)
    while left := [one for one in under_way if not one.done]:
        first = min(left, key=lambda one: one.step)
        backend.advance([one for one in left if one.batch_key == first.batch_key and one.step == first.step])
    return decoded(backend, under_way)
