"""Works in one model call, and in smaller ones where that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog

from inpaint_server.engine.work import PassWork, SingleCallWork
from inpaint_server.errors import DeviceFailed, InpaintServerError

log = structlog.get_logger(__name__)
W = TypeVar("W", bound=PassWork[Any] | SingleCallWork)
R = TypeVar("R")


def run_batched(
    works: Sequence[W], run: Callable[[Sequence[W]], Sequence[R]], *, max_batch: int, retry_after: type[Exception]
) -> list[tuple[W, R]]:
    """Run all works in one call; where it fails, each half in its own, so that a bad work fails alone.

    Args:
        works: Any number of them.
        run: Returns one result for each of up to `max_batch` works.
        max_batch: Most works in one call.
        retry_after: Errors after which halves are tried; any other fails all works of the call.

    Returns:
        Each work that succeeded, with its result.
    """
    if not works:
        return []
    if len(works) <= max_batch:
        try:
            return list(zip(works, run(works), strict=True))
        except DeviceFailed:
            raise
        except Exception as error:  # noqa: BLE001 - the works' futures receive it; the device goes on
            # The error's traceback holds the failed call's frames, and through them its tensors.
            traceback.clear_frames(error.__traceback__)
            if len(works) == 1 or not isinstance(error, retry_after):
                for work in works:
                    work.fail(error)
                return []
            log.warning("batch_halved", works=len(works), error=type(error).__name__)
    half = len(works) // 2
    return [
        pair
        for some in (works[:half], works[half:])
        for pair in run_batched(some, run, max_batch=max_batch, retry_after=retry_after)
    ]


def drop_ended(works: Sequence[W]) -> list[W]:
    """The works whose requests still want them; the futures of the others receive the reason."""
    remaining: list[W] = []
    for work in works:
        try:
            work.raise_if_ended()
        except InpaintServerError as error:
            work.fail(error)
        else:
            remaining.append(work)
    return remaining
