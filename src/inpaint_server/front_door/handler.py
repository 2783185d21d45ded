"""The front door's handler: forwards one request's bytes to the engine and returns its answer unchanged.

multi-model-server imports this into every worker, so it imports neither NumPy nor models, and it always returns: an
exception that leaves a handler costs the worker and the caller's answer.

The model folder of the server is the run folder's `model`; beside it are the engine's socket, the supervisor's `state`
and its `probe` token (see `front_door.run_folder`).
"""

from __future__ import annotations

import http.client
import re
import select
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sagemaker_inference import content_types

from inpaint_server.errors import ClientGone, Draining, InpaintServerError, Internal, Overloaded
from inpaint_server.front_door.run_folder import PROBE_HEADER, RunFolder
from inpaint_server.front_door.unix_http import UnixConnection

FORWARDED_HEADERS = (
    "accept",
    "content-encoding",
    "x-amzn-sagemaker-custom-attributes",
    "x-amzn-sagemaker-inference-id",
    "x-amzn-trace-id",
    "traceparent",
    "x-inpaint-arrived",
)
RETURNED_HEADERS = ("X-Amzn-SageMaker-Custom-Attributes", "X-Request-Id", "Retry-After")

# Shared with the front door's `PublicPortHandler`, in Java: the caller's Content-Type, and whether a response is to be
# sent unchanged.
CONTENT_TYPE_HEADER = "x-inpaint-content-type"
PASSTHROUGH_HEADER = "x-inpaint-passthrough"

RETRY_AFTER_S = 5
DISCONNECT_CHECK_S = 0.25
"""Seconds between two checks whether the caller of a request in progress is still connected."""

_LONGEST_HEADER = 1024
_UNSAFE = re.compile(r"[^\x20-\x7e\x80-\xff]")


class Context(Protocol):
    """What multi-model-server passes beside the requests; the part that is used here."""

    system_properties: dict[str, Any]

    def get_request_id(self, idx: int) -> str | None:
        """The id that the front door gave the request."""
        ...

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """Headers, with names as the caller wrote them."""
        ...

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        """Status of one answer."""
        ...

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Content type of one answer."""
        ...

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """A header of one answer; `value` must be a string without control characters."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedResponse:
    """An answer for the caller."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[bytes] | None:
    """Answer the requests that multi-model-server passes (one at a time as it is configured here).

    Args:
        data: For each request its parameters by name, of which there is one, `body`; None: the call when a worker
            loads.
        context: Their headers, and where status and headers of the answers go.

    Returns:
        The answers' bodies, in order.
    """
    if data is None:
        return None
    folder = RunFolder(Path(context.system_properties["model_dir"]).parent)
    return [_answer(fields, context, index, folder) for index, fields in enumerate(data)]


def _answer(fields: dict[str, Any], context: Context, index: int, folder: RunFolder) -> bytes:
    request_id = context.get_request_id(index) or ""
    headers = {name.lower(): value for name, value in context.get_all_request_header(index).items()}
    try:
        reply = _reply(fields, headers, request_id, folder)
    except Exception as error:  # noqa: BLE001 - see the module's description
        sys.stderr.write(f"request {request_id} could not be forwarded: {error!r}\n")
        reply = error_response(Internal(f"The request failed; its id is {request_id}."), request_id)
    context.set_response_status(reply.status, "", index)
    context.set_response_content_type(index, _safe(reply.content_type))
    for name, value in {**reply.headers, PASSTHROUGH_HEADER: "1"}.items():
        context.set_response_header(index, name, _safe(value))
    return reply.body


def _reply(fields: dict[str, Any], headers: dict[str, str], request_id: str, folder: RunFolder) -> ForwardedResponse:
    if headers.get(PROBE_HEADER) == folder.probe_token():
        return ForwardedResponse(status=200, content_type=content_types.JSON, body=b"{}")
    sent = {name: _printable(headers[name]) for name in FORWARDED_HEADERS if name in headers}
    sent["x-request-id"] = request_id
    if CONTENT_TYPE_HEADER in headers:
        sent["content-type"] = _printable(headers[CONTENT_TYPE_HEADER])
    try:
        with folder.working():
            return _forward(bytes(fields["body"]), sent, folder)
    except ClientGone as error:
        folder.clear_disconnected(request_id)
        return error_response(error, request_id)
    except (FileNotFoundError, ConnectionRefusedError):
        return error_response(_engine_absent(folder), request_id)
    except (OSError, http.client.HTTPException):
        return error_response(Internal(f"The request was lost; its id is {request_id}. Send it again."), request_id)


def _forward(body: bytes, headers: dict[str, str], folder: RunFolder) -> ForwardedResponse:
    connection = UnixConnection(folder.socket)
    try:
        connection.request("POST", "/invocations", body, headers)
        _wait_for_answer(connection, headers["x-request-id"], folder)
        answer = connection.getresponse()
        return ForwardedResponse(
            status=answer.status,
            content_type=answer.getheader("content-type", content_types.OCTET_STREAM),
            body=answer.read(),
            headers={name: value for name in RETURNED_HEADERS if (value := answer.getheader(name))},
        )
    finally:
        connection.close()


def _wait_for_answer(connection: UnixConnection, request_id: str, folder: RunFolder) -> None:
    """Wait for the answer; closing the connection without having read it ends the engine's work.

    Raises:
        ClientGone: the caller disconnected.
    """
    while not select.select([connection.sock], [], [], DISCONNECT_CHECK_S)[0]:
        if folder.is_disconnected(request_id):
            raise ClientGone("The caller disconnected before its answer.")


def _engine_absent(folder: RunFolder) -> InpaintServerError:
    """The error when nothing listens on the engine's socket."""
    if folder.state() == "draining":
        return Draining("The server is stopping; send the request to another one.", retry_after=RETRY_AFTER_S)
    return Overloaded("The models are being loaded again; send the request again later.", retry_after=RETRY_AFTER_S)


def error_response(error: InpaintServerError, request_id: str) -> ForwardedResponse:
    """The response to a request that failed here."""
    retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    body = error.to_json(request_id)
    return ForwardedResponse(status=error.status, content_type=content_types.JSON, body=body, headers=retry)


def _safe(value: str) -> str:
    return _printable(value)[:_LONGEST_HEADER]


def _printable(value: str) -> str:
    """A header's value with its control characters replaced, which http.client would refuse."""
    return _UNSAFE.sub("?", value)
