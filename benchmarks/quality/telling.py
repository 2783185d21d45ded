"""Stories told side by side to the models themselves, without engine or server: what can share a call shares it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from inpaint_server.models.painter import Painter
from inpaint_server.pipeline import Telling
from inpaint_server.types import Check, Enlarge, Generate, Judge, Pass, Pixels, Segment

T = TypeVar("T")


def tell_together(painter: Painter, stories: Sequence[Telling[T]]) -> list[T]:
    """What each story returns, in order."""
    looks: dict[type, Any] = {
        Segment: painter.segment,
        Judge: painter.judge,
        Check: painter.check,
        Enlarge: painter.enlarge,
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


def _generate(painter: Painter, asks: Sequence[Generate]) -> list[Pixels]:
    """Backgrounds; what several stories ask for is painted once."""
    distinct = list(dict.fromkeys(asks))
    painted = dict(zip(distinct, paint(painter, distinct), strict=True))
    return [painted[ask] for ask in asks]


def paint(painter: Painter, passes: Sequence[Pass]) -> list[Pixels]:
    """Passes from their first step to their pixels, those that can in one evaluation."""
    under_way = painter.begin(passes)
    while left := [one for one in under_way if not one.done]:
        first = min(left, key=lambda one: one.step)
        painter.advance([one for one in left if one.batch_key == first.batch_key and one.step == first.step])
    return painter.finish(under_way)
