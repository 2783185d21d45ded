"""Whether the caller is still there: work for one that has gone away is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import Request

from inpaint_server.errors import ClientGone

T = TypeVar("T")


async def cancel_on_disconnect(request: Request, work: Coroutine[None, None, T]) -> T:
    """What the work gives; where the caller goes away first the work is cancelled.

    Args:
        request: Its body has been read to the end.
        work: What is done for it.

    Raises:
        ClientGone: the caller went away.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone("The caller went away before its answer.")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    """Returns when the caller goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
