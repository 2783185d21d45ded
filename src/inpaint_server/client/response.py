"""A server's response, from any transport."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, cast

from inpaint_server.errors import InpaintServerError, PlatformRefused, Unreachable

JSON: Final = "application/json"
_PLATFORM_STATUSES: Final = frozenset({413, 429, 500, 502, 503, 504})
_RETRYABLE_STATUSES: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """An answer or a refusal, as bytes.

    Attributes:
        status: The server's HTTP status, also where SageMaker wraps it.
        body: The server's body.
        media_type: What the body is.
        retry_after_s: Seconds the server's Retry-After header names, if any.
        retryable: Whether the same request may succeed later, and repeating it does no harm.
    """

    status: int
    body: bytes
    media_type: str = JSON
    retry_after_s: float | None = None
    retryable: bool = False

    def check(self) -> None:
        """Raise the error of a refusal.

        Raises:
            InpaintServerError: the class of the error's code, with the server's own sentence.
        """
        if self.status // 100 != 2:
            raise self._refusal()

    def _refusal(self) -> InpaintServerError:
        try:
            error = cast("dict[str, Any]", json.loads(self.body)["error"])
            kind, message = _BY_CODE.get(error["code"], InpaintServerError), str(error["message"])
        except (ValueError, LookupError, TypeError):
            return self._foreign_refusal()
        return kind(message, field=error.get("field"), retry_after=error.get("retry_after"))

    def _foreign_refusal(self) -> InpaintServerError:
        """A refusal that is not in our format: from a proxy, or from another server."""
        if self.status in _PLATFORM_STATUSES:
            return PlatformRefused(
                f"Something before the server refused the request ({self.status}): check its size and that log."
            )
        return Unreachable(f"Check the address: what answered ({self.status}) is no inpaint-server.")


def from_http(status: int, body: bytes, media_type: str = JSON, retry_after: str | None = None) -> RawResponse:
    """A response that a server sent."""
    return RawResponse(
        status=status,
        body=body,
        media_type=media_type,
        retry_after_s=float(retry_after) if retry_after and retry_after.isdecimal() else None,
        retryable=status in _RETRYABLE_STATUSES,
    )


def from_error(error: InpaintServerError, *, retryable: bool = False) -> RawResponse:
    """An error of the client's own, in the form of a server's response."""
    return RawResponse(status=error.status, body=error.to_json(), retryable=retryable)


_BY_CODE: Final = {kind.code: kind for kind in InpaintServerError.__subclasses__()}
