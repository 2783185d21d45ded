"""The front door's handler: forwards one request's bytes to the engine and brings its answer back, unchanged.

multi-model-server imports this into every worker, so it imports neither pixels nor models, and it returns whatever
happens: an exception that leaves a handler costs the worker and the caller's answer.

The model folder that the server names is the run folder's `model`; beside it lie the engine's socket, the
supervisor's `state` and its `probe` token (see `front_door.run_folder`).
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
from inpaint_server.front_door.run_folder import RunFolder
from inpaint_server.front_door.unix_http import UnixConnection

FORWARDED = (
    "accept",
    "x-amzn-sagemaker-custom-attributes",
    "x-amzn-sagemaker-inference-id",
    "x-amzn-trace-id",
    "traceparent",
)
RETURNED = ("X-Amzn-SageMaker-Custom-Attributes", "X-Request-Id", "Retry-After", "Allow")
PROBE_HEADER = "x-inpaint-probe"

# Set, removed and read by the front door's `Doorway`, in Java: what the caller's method and Content-Type were, and that
# an answer is worded already.
METHOD_HEADER = "x-inpaint-method"
TYPE_HEADER = "x-inpaint-content-type"
WORDED_HEADER = "x-inpaint-worded"

RETRY_AFTER_S = 5
LOOK_S = 0.25
"""How often a handler that waits for an answer looks whether anybody still wants it."""

# multi-model-server's decoder loses a worker whose reply is so small that its receive buffer shrinks to less than the
# next reply's headers: no reply may be shorter than this, and no header longer than the other.
_SHORTEST_REPLY = 1100
_LONGEST_HEADER = 1024
_UNSAFE = re.compile(r"[^\x20-\x7e\x80-\xff]")


class Context(Protocol):
    """What multi-model-server tells about the requests it hands over; the part that is used here."""

    system_properties: dict[str, Any]

    def get_request_id(self, idx: int) -> str | None:
        """The id that the front door gave the request."""
        ...

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """Headers in the caller's spelling."""
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
    """One answer on its way back to the caller."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def handle(data: list[dict[str, Any]] | None, context: Context) -> list[bytes] | None:
    """Answer the requests that multi-model-server hands over (one at a time as it is set up here).

    Args:
        data: For each request its parameters by name, of which there is one, `body`; None: the call made once, when a
            worker loads.
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
    body, padding = _padded(reply)
    context.set_response_status(reply.status, "", index)
    context.set_response_content_type(index, _safe(reply.content_type))
    for name, value in {**reply.headers, **padding, WORDED_HEADER: "1"}.items():
        context.set_response_header(index, name, _safe(value))
    return body


def _reply(fields: dict[str, Any], headers: dict[str, str], request_id: str, folder: RunFolder) -> ForwardedResponse:
    if headers.get(PROBE_HEADER) == folder.probe_token():
        return ForwardedResponse(status=200, content_type=content_types.JSON, body=b"{}")
    sent = {name: _latin(headers[name]) for name in FORWARDED if name in headers}
    sent["x-request-id"] = request_id
    if TYPE_HEADER in headers:
        sent["content-type"] = _latin(headers[TYPE_HEADER])
    try:
        with folder.working():
            return _forward(headers[METHOD_HEADER], bytes(fields["body"]), sent, folder)
    except ClientGone as error:
        folder.forget_caller(request_id)
        return error_response(error, request_id)
    except (FileNotFoundError, ConnectionRefusedError):
        return error_response(_absence(folder), request_id)
    except (OSError, http.client.HTTPException):
        return error_response(Internal(f"The request was lost; its id is {request_id}. Send it again."), request_id)


def _forward(method: str, body: bytes, headers: dict[str, str], folder: RunFolder) -> ForwardedResponse:
    connection = UnixConnection(folder.socket)
    try:
        # Every method but POST gets the engine's same answer, and the engine's HTTP parser does not know every word.
        connection.request("POST" if method == "POST" else "GET", "/invocations", body, headers)
        _wait(connection, headers["x-request-id"], folder)
        answer = connection.getresponse()
        return ForwardedResponse(
            status=answer.status,
            content_type=answer.getheader("content-type", content_types.OCTET_STREAM),
            body=answer.read(),
            headers={name: value for name in RETURNED if (value := answer.getheader(name))},
        )
    finally:
        connection.close()


def _wait(connection: UnixConnection, request_id: str, folder: RunFolder) -> None:
    """Wait for the answer; where its caller goes away first, so does the connection, and with it the engine's work.

    Raises:
        ClientGone: the caller went away.
    """
    while not select.select([connection.sock], [], [], LOOK_S)[0]:
        if folder.caller_is_gone(request_id):
            raise ClientGone("The caller went away before its answer.")


def _absence(folder: RunFolder) -> InpaintServerError:
    """Why nothing listens on the engine's socket."""
    if folder.state() == "draining":
        return Draining("The server is stopping; send the request to another one.", retry_after=RETRY_AFTER_S)
    return Overloaded("The models are being loaded again; send the request again later.", retry_after=RETRY_AFTER_S)


def error_response(error: InpaintServerError, request_id: str) -> ForwardedResponse:
    """An error of ours, as every caller gets it."""
    retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    body = error.to_json(request_id)
    return ForwardedResponse(status=error.status, content_type=content_types.JSON, body=body, headers=retry)


def _padded(reply: ForwardedResponse) -> tuple[bytes, dict[str, str]]:
    """The body, and headers if need be, long enough for multi-model-server: spaces after JSON, else a header."""
    missing = _SHORTEST_REPLY - len(reply.body)
    if missing <= 0:
        return reply.body, {}
    if reply.content_type.startswith(content_types.JSON):
        return reply.body.rstrip(b"\n") + b" " * missing + b"\n", {}
    return reply.body, {"X-Padding": "-" * min(missing, _LONGEST_HEADER)}


def _safe(value: str) -> str:
    return _UNSAFE.sub("?", value)[:_LONGEST_HEADER]


def _latin(value: str) -> str:
    """A header's value as http.client can send it: its bytes as they came, control characters replaced."""
    return _UNSAFE.sub("?", value)
