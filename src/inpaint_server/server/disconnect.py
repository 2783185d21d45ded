"""Cancels work that nobody waits for any more, or that may not go on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import Request

from inpaint_server.errors import ClientGone, InpaintServerError

T = TypeVar("T")


async def cancel_when(work: Coroutine[None, None, T], *reasons: Coroutine[None, None, InpaintServerError]) -> T:
    """The result of the work, which is cancelled as soon as there is a reason to.

    Args:
        work: Must end at once when it is cancelled.
        reasons: Each returns, once the work must not go on, the error to raise.

    Raises:
        InpaintServerError: the reason for which the work was cancelled, or its own error.
    """
    working = asyncio.create_task(work)
    waiting = [asyncio.create_task(reason) for reason in reasons]
    try:
        await asyncio.wait({working, *waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise next(reason.result() for reason in waiting if reason.done())
    finally:
        for task in (working, *waiting):
            task.cancel()
        await asyncio.gather(working, *waiting, return_exceptions=True)


async def disconnected(request: Request) -> ClientGone:
    """Returns once the caller has closed its connection; the request's body must have been read to its end."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return ClientGone("The caller disconnected before its answer.")


async def once_set(event: asyncio.Event, error: InpaintServerError) -> InpaintServerError:
    """Returns the error once the event is set."""
    await event.wait()
    return error


async def after(seconds: float, error: InpaintServerError) -> InpaintServerError:
    """Returns the error after this time; at once if it is negative."""
    await asyncio.sleep(seconds)
    return error
