"""The blocking and the asynchronous client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from typing import Any, Unpack

from inpaint_server.client.fields import Fields, Photo, request_object
from inpaint_server.client.response import JSON, RawResponse
from inpaint_server.client.result import Result
from inpaint_server.client.retry import Retry, seconds
from inpaint_server.client.transport import AsyncHttp, AsyncTransport, Http, SageMaker, Threaded, Transport, is_url

TIMEOUT_S = 70.0
"""A little more than a server's own deadline, so that the server answers first."""


class Client:
    """A blocking client.

    Args:
        target: A server's URL, a SageMaker endpoint's name, or a transport.
        timeout_s: Seconds an answer may take; a request that timed out is not sent again.
        retry: How often a request that was refused for now is sent again.

    Raises:
        InvalidRequest: the target is an endpoint and boto3 is missing or not configured.
    """

    def __init__(self, target: str | Transport, *, timeout_s: float = TIMEOUT_S, retry: Retry | None = None) -> None:
        self._transport = _transport(target, timeout_s) if isinstance(target, str) else target
        self._retry = retry or Retry()
        self._closed = threading.Event()

    def advert(self, photo: Photo, **fields: Unpack[Fields]) -> Result:
        """The whole pipeline: the product in a scene that the prompts describe.

        Raises:
            InpaintServerError: the class that belongs to the server's refusal, in its words.
        """
        return self.invoke(request_object("advert", photo, fields))

    def mask(self, photo: Photo, **fields: Unpack[Fields]) -> Result:
        """The product's mask, white = product, in the photo's size; raises as `advert`."""
        return self.invoke(request_object("mask", photo, fields))

    def background(self, **fields: Unpack[Fields]) -> Result:
        """The scene alone; raises as `advert`."""
        return self.invoke(request_object("background", None, fields))

    def inpaint(self, photo: Photo, **fields: Unpack[Fields]) -> Result:
        """The passes alone, on the photo as it is; raises as `advert`."""
        return self.invoke(request_object("inpaint", photo, fields))

    def invoke(self, request: Mapping[str, Any]) -> Result:
        """Send a request object as it stands on the wire; raises as `advert`."""
        return _result(self.send(json.dumps(request).encode()))

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """Send a JSON body and give the bytes that came back, after as many attempts as `retry` allows."""
        for wait_s in self._retry.waits():
            reply = self._transport.send(body, accept)
            if not reply.retryable or self._closed.wait(seconds(wait_s, reply)):
                return reply
        return self._transport.send(body, accept)

    def close(self) -> None:
        """Close the connections; a request that waits for its next attempt is not repeated."""
        self._closed.set()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """An asynchronous client; arguments and errors as `Client`."""

    def __init__(
        self, target: str | AsyncTransport, *, timeout_s: float = TIMEOUT_S, retry: Retry | None = None
    ) -> None:
        self._transport = _async_transport(target, timeout_s) if isinstance(target, str) else target
        self._retry = retry or Retry()

    async def advert(self, photo: Photo, **fields: Unpack[Fields]) -> Result:
        """See `Client.advert`."""
        return await self.invoke(request_object("advert", photo, fields))

    async def mask(self, photo: Photo, **fields: Unpack[Fields]) -> Result:
        """See `Client.mask`."""
        return await self.invoke(request_object("mask", photo, fields))

    async def background(self, **fields: Unpack[Fields]) -> Result:
        """See `Client.background`."""
        return await self.invoke(request_object("background", None, fields))

    async def inpaint(self, photo: Photo, **fields: Unpack[Fields]) -> Result:
        """See `Client.inpaint`."""
        return await self.invoke(request_object("inpaint", photo, fields))

    async def invoke(self, request: Mapping[str, Any]) -> Result:
        """See `Client.invoke`."""
        return _result(await self.send(json.dumps(request).encode()))

    async def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """See `Client.send`."""
        for wait_s in self._retry.waits():
            reply = await self._transport.send(body, accept)
            if not reply.retryable:
                return reply
            await asyncio.sleep(seconds(wait_s, reply))
        return await self._transport.send(body, accept)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _transport(target: str, timeout_s: float) -> Transport:
    return Http(target, timeout_s) if is_url(target) else SageMaker(target, timeout_s)


def _async_transport(target: str, timeout_s: float) -> AsyncTransport:
    return AsyncHttp(target, timeout_s) if is_url(target) else Threaded(SageMaker(target, timeout_s))


def _result(reply: RawResponse) -> Result:
    reply.check()
    return Result.from_json(reply.body)
