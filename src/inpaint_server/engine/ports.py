"""What the engine needs of the models; it knows them by these words only."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeVar

from inpaint_server.cache import CacheStats
from inpaint_server.types import Candidates, Pass, Pixels, Segment


class Denoising(Protocol):
    """A pass under way: begun, advanced step by step, finished."""

    @property
    def steps(self) -> int:
        """Steps the whole pass takes."""
        ...

    @property
    def step(self) -> int:
        """Steps done."""
        ...

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        ...

    @property
    def batch_key(self) -> Hashable:
        """Passes with equal keys can share a model evaluation."""
        ...


D = TypeVar("D", bound=Denoising)


class Painter(Protocol[D]):
    """The models on their device. One thread calls it. Whatever it raises of ours is `OutOfMemory`."""

    def segment(self, ask: Segment) -> Candidates:
        """Find the product."""
        ...

    def begin(self, ask: Pass) -> D:
        """Prepare a pass."""
        ...

    def advance(self, batch: list[D]) -> None:
        """One step of every pass of the batch; nothing has changed where it raises."""
        ...

    def finish(self, denoising: D) -> Pixels:
        """Decode a pass that is done."""
        ...

    def caches(self) -> dict[str, CacheStats]:
        """What it keeps of past asks, by name; any thread may call it."""
        ...
