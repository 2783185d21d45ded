"""Every failure a caller can meet, one class for each row of the error table.

A class owns its HTTP status and its code; an instance owns one sentence that says what to change.
"""

from __future__ import annotations

import json
from typing import ClassVar, Final


class InpaintServerError(Exception):
    """Base of all errors that reach a person.

    Args:
        message: One sentence that says what to change.
        field: The request's field that caused it, as it is spelled on the wire.
        retry_after: Seconds after which the same request may succeed.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def to_json(self, request_id: str | None = None) -> bytes:
        """The body of every refusal: `{"error": {"code", "message", "field", "request_id"}}`, without what is None."""
        members = {"code": self.code, "message": self.message, "field": self.field, "request_id": request_id}
        present = {name: value for name, value in members.items() if value is not None}
        return json.dumps({"error": present}, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


class InvalidRequest(InpaintServerError):
    """A field is missing, unknown, of the wrong type or out of range; or a picture cannot be decoded."""

    status = 400
    code = "invalid_request"


class NotFound(InpaintServerError):
    """The path is not one of the two routes."""

    status = 404
    code = "not_found"


class MethodNotAllowed(InpaintServerError):
    """The route exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class NotAcceptable(InpaintServerError):
    """No media type of the Accept header can be produced."""

    status = 406
    code = "not_acceptable"


class TooLarge(InpaintServerError):
    """The body, a picture or the requested pixels are beyond a limit; the message names it."""

    status = 413
    code = "too_large"


class UnsupportedMediaType(InpaintServerError):
    """The request's Content-Type is not understood."""

    status = 415
    code = "unsupported_media_type"


class ClientGone(InpaintServerError):
    """The caller went away before its answer. Only the log and the metrics report it."""

    status = 499
    code = "client_gone"


class Internal(InpaintServerError):
    """A failure of ours. The message holds a request id and nothing of what happened inside."""

    status = 500
    code = "internal"


class DeviceFailed(Internal):
    """The device failed for good: every further call would fail, too. The engine process ends, and is started again."""


class Unreachable(InpaintServerError):
    """No server of ours can be reached: a wrong address, no connection, no access."""

    status = 502
    code = "unreachable"


class ResponseLost(InpaintServerError):
    """A request was sent, and its answer did not arrive; it may have been painted all the same."""

    status = 502
    code = "response_lost"


class PlatformRefused(InpaintServerError):
    """Something before the server refused a request: SageMaker, a proxy, a load balancer."""

    status = 502
    code = "platform_refused"


class Overloaded(InpaintServerError):
    """The queue is full."""

    status = 503
    code = "overloaded"


class Draining(InpaintServerError):
    """The server is stopping and takes no new work."""

    status = 503
    code = "draining"


class DeadlineExceeded(InpaintServerError):
    """The request could not finish in its time; its work was stopped between two steps."""

    status = 504
    code = "deadline_exceeded"


class OutOfMemory(InpaintServerError):
    """The device's memory does not hold even one picture of this size."""

    status = 507
    code = "out_of_memory"


class BundleError(InpaintServerError):
    """A folder of weights is missing, incomplete or damaged."""

    code = "invalid_bundle"


class SettingsError(InpaintServerError):
    """An environment variable has a value that cannot be used."""

    code = "invalid_settings"


ANSWERED: Final[tuple[type[InpaintServerError], ...]] = (
    InvalidRequest,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    TooLarge,
    UnsupportedMediaType,
    Internal,
    Overloaded,
    Draining,
    DeadlineExceeded,
    OutOfMemory,
)
"""What a caller of the two routes can get; the others reach the log, the client or the command line alone."""
