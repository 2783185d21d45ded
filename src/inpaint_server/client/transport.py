"""Transports to a server: HTTP and SageMaker's runtime."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol, cast

import httpx

from inpaint_server.client.response import JSON, RawResponse, from_error, from_http
from inpaint_server.errors import InvalidRequest, PlatformRefused, ResponseLost, Unreachable

_CONNECT_S = 10.0
_NO_ACCESS = frozenset(
    {"AccessDeniedException", "ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"}
)


class Transport(Protocol):
    """Sends one body once."""

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """Send a JSON body; an error on the way is returned as a response, too."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class AsyncTransport(Protocol):
    """The same, asynchronously."""

    async def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """Send a JSON body; an error on the way is returned as a response, too."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Http:
    """A server's URL."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = _invocations(url)
        self._client = httpx.Client(timeout=_timeout(timeout_s))

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """See `Transport`."""
        try:
            response = self._client.post(self._url, content=body, headers=_headers(accept))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _no_answer(self._url, error)
        return _reply(response)

    def close(self) -> None:
        """See `Transport`."""
        self._client.close()


class AsyncHttp:
    """A server's URL, asynchronously."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = _invocations(url)
        self._client = httpx.AsyncClient(timeout=_timeout(timeout_s))

    async def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """See `AsyncTransport`."""
        try:
            response = await self._client.post(self._url, content=body, headers=_headers(accept))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _no_answer(self._url, error)
        return _reply(response)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        await self._client.aclose()


class SageMaker:
    """An endpoint by name, in the account and region that boto3 finds.

    Raises:
        InvalidRequest: boto3 is not installed, or finds no region.
    """

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError:
            raise InvalidRequest(
                "Install boto3 (pip install 'inpaint-server[aws]') to call a SageMaker endpoint."
            ) from None
        # A read that times out must not be sent again: the first one may still be running.
        config = Config(read_timeout=timeout_s, retries={"max_attempts": 0}, max_pool_connections=64)
        try:
            self._runtime: Any = cast("Any", boto3).client("sagemaker-runtime", config=config)
        except BotoCoreError as error:
            raise InvalidRequest(f"The endpoint {endpoint} cannot be called: {error}") from None
        self._endpoint = endpoint

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """See `Transport`."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self._endpoint, ContentType=JSON, Accept=accept, Body=body
            )
            return from_http(200, answer["Body"].read(), answer.get("ContentType", JSON))
        except ClientError as error:
            return self._refusal(cast("dict[str, Any]", error.response), error)
        except BotoCoreError as error:
            return self._no_answer(error)

    def _refusal(self, response: dict[str, Any], error: Exception) -> RawResponse:
        """The container's refusal if SageMaker forwards one, else SageMaker's own."""
        if "OriginalMessage" in response:
            return from_http(response["OriginalStatusCode"], response["OriginalMessage"].encode())
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(response.get("Error", {}).get("Code"))
        if code in _NO_ACCESS or "not found" in str(error):
            return from_error(Unreachable(f"Check the endpoint {self._endpoint} and the credentials: {error}"))
        refused = PlatformRefused(f"SageMaker refused the request to {self._endpoint}: {error}")
        return from_error(refused, retryable=status in (429, 503) or code == "ThrottlingException")

    def _no_answer(self, error: Exception) -> RawResponse:
        """An error after a connection was established: the request may have been received, so it is not repeated."""
        from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError, ResponseStreamingError

        connected = isinstance(error, ReadTimeoutError | ConnectionClosedError | ResponseStreamingError)
        if connected:
            return from_error(ResponseLost(f"The answer of {self._endpoint} was lost: {error}"))
        unreachable = Unreachable(f"The endpoint {self._endpoint} cannot be called: {error}")
        return from_error(unreachable, retryable=isinstance(error, HTTPClientError))

    def close(self) -> None:
        """See `Transport`."""
        self._runtime.close()


@dataclass(frozen=True, slots=True)
class Threaded:
    """A blocking transport on a thread."""

    transport: Transport

    async def send(self, body: bytes, accept: str = JSON) -> RawResponse:
        """See `AsyncTransport`."""
        return await asyncio.to_thread(self.transport.send, body, accept)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        await asyncio.to_thread(self.transport.close)


def is_url(target: str) -> bool:
    """Whether a target is a server's URL; else it is a SageMaker endpoint's name."""
    return "://" in target


def _invocations(url: str) -> str:
    return f"{url.rstrip('/').removesuffix('/invocations')}/invocations"


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_S))


def _headers(accept: str) -> dict[str, str]:
    return {"Content-Type": JSON, "Accept": accept}


def _reply(response: httpx.Response) -> RawResponse:
    media_type = response.headers.get("content-type", JSON)
    return from_http(response.status_code, response.content, media_type, response.headers.get("retry-after"))


def _no_answer(url: str, error: Exception) -> RawResponse:
    """The reply in place of an answer; it is retryable only if no connection was established."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return from_error(Unreachable(f"Check the server's address {url}: {reason}."), retryable=True)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return from_error(Unreachable(f"Check the server's address {url}: {reason}."))
    return from_error(ResponseLost(f"The answer of {url} was lost: {reason}."))
