"""Stories told side by side to the models themselves, without engine or server: what can share a call shares it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, Generate, Score, Segment, Upscale
from inpaint_server.models.backend import TorchBackend
from inpaint_server.pipeline import PipelineSteps

T = TypeVar("T")


def tell_together(painter: TorchBackend, stories: Sequence[PipelineSteps[T]]) -> list[T]:
    """What each story returns, in order."""
    looks: dict[type, Any] = {
        Segment: painter.segment,
        Score: painter.score,
        CheckSafety: painter.check_safety,
        Upscale: painter.upscale,
    }
    looks[Generate] = lambda asks: _generate(painter, asks)
    returned: dict[int, T] = {}
    asks: dict[int, Any] = {}
    made: dict[int, Any] = dict.fromkeys(range(len(stories)))
    while made:
        for index, answer in made.items():
            try:
                asks[index] = stories[index].send(answer)
            except StopIteration as end:
                returned[index] = end.value
        kind = type(next(iter(asks.values()))) if asks else None
        alike = [index for index, ask in asks.items() if type(ask) is kind]
        some = [asks.pop(index) for index in alike]
        call = looks.get(kind, lambda passes: paint(painter, passes)) if kind else None
        made = dict(zip(alike, call(some), strict=True)) if call else {}
    return [returned[index] for index in range(len(stories))]


def _generate(painter: TorchBackend, asks: Sequence[Generate]) -> list[Pixels]:
    """Backgrounds; what several stories ask for is painted once."""
    distinct = list(dict.fromkeys(asks))
    painted = dict(zip(distinct, paint(painter, distinct), strict=True))
    return [painted[ask] for ask in asks]


def paint(painter: TorchBackend, passes: Sequence[DiffusionCall]) -> list[Pixels]:
    """Passes from their first step to their pixels, those that can in one evaluation."""
    under_way = painter.begin(passes)
    while left := [one for one in under_way if not one.done]:
        first = min(left, key=lambda one: one.step)
        painter.advance([one for one in left if one.batch_key == first.batch_key and one.step == first.step])
    return painter.finish(under_way)
