"""How often, and after how long, a request is sent again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from inpaint_server.client.response import RawResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Exponential back-off for temporary refusals: a full queue, a draining server, a throttling platform, no listener.

    A missed deadline is not retried: the same request would miss it again, and cost the same.

    Attributes:
        attempts: Times a request is sent in all, at least 1.
        first_wait_s: Seconds before the second attempt; doubled for each one after it.
        longest_wait_s: Seconds the doubling stops at; a server's Retry-After may be longer.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def waits(self) -> Iterator[float]:
        """Seconds before each further attempt, each shortened by up to half at random.

        Many callers that were refused together must not all come back together.
        """
        for number in range(self.attempts - 1):
            yield min(self.longest_wait_s, self.first_wait_s * 2**number) * random.uniform(0.5, 1.0)  # noqa: S311


def seconds(wait_s: float, reply: RawResponse) -> float:
    """Seconds to wait after a response: at least the server's Retry-After."""
    return max(wait_s, reply.retry_after_s or 0.0)
