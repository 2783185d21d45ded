"""What comes back from a server, whichever way it was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, cast

from inpaint_server.errors import InpaintServerError, Unreachable

JSON: Final = "application/json"
_WORTH_REPEATING: Final = frozenset({429, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """An answer or a refusal, as bytes.

    Attributes:
        status: The server's HTTP status, also where SageMaker wraps it.
        body: The server's body.
        media_type: What the body is.
        retry_after_s: Seconds after which the server wants to be asked again, where it says so.
        worth_repeating: Whether the same request may succeed later, and repeating it does no harm.
    """

    status: int
    body: bytes
    media_type: str = JSON
    retry_after_s: float | None = None
    worth_repeating: bool = False

    def check(self) -> None:
        """Raise what a refusal says.

        Raises:
            InpaintServerError: the class of the error's code, with the server's own sentence.
        """
        if self.status // 100 != 2:
            raise self._refusal()

    def _refusal(self) -> InpaintServerError:
        try:
            told = cast("dict[str, Any]", json.loads(self.body)["error"])
            kind, message = _BY_CODE.get(told["code"], InpaintServerError), str(told["message"])
        except (ValueError, LookupError, TypeError):
            return Unreachable(f"Check the address: what answered ({self.status}) is no inpaint-server.")
        return kind(message, field=told.get("field"), retry_after=told.get("retry_after"))


def answered(status: int, body: bytes, media_type: str = JSON, retry_after: str | None = None) -> RawResponse:
    """A reply that a server gave."""
    return RawResponse(
        status=status,
        body=body,
        media_type=media_type,
        retry_after_s=float(retry_after) if retry_after and retry_after.isdecimal() else None,
        worth_repeating=status in _WORTH_REPEATING,
    )


def refused(error: InpaintServerError, *, worth_repeating: bool = False) -> RawResponse:
    """A reply that stands for a server's where none came."""
    return RawResponse(status=error.status, body=error.to_json(), worth_repeating=worth_repeating)


_BY_CODE: Final = {kind.code: kind for kind in InpaintServerError.__subclasses__()}
