"""What the engine needs of the models; it knows them by these words only."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, MaskProposals, Score, Segment, Upscale


class PassState(Protocol):
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


D = TypeVar("D", bound=PassState)


class ModelBackend(Protocol[D]):
    """The models on their device. One thread calls it. Whatever it raises of ours is `OutOfMemory`.

    What is asked for together is made together, in as few model calls as its sizes allow, and comes back in its order.
    Where a call raises, nothing has changed: fewer can be tried.
    """

    def segment(self, asks: Sequence[Segment]) -> list[MaskProposals]:
        """Find products."""
        ...

    def score(self, asks: Sequence[Score]) -> list[float]:
        """Say how well pictures show their words, at most 1 each."""
        ...

    def check_safety(self, asks: Sequence[CheckSafety]) -> list[bool]:
        """Say which pictures are unsafe; only asked where the bundle has a safety checker."""
        ...

    def upscale(self, asks: Sequence[Upscale]) -> list[Pixels]:
        """Enlarge pictures; only asked where the bundle has an upscaler."""
        ...

    def begin(self, asks: Sequence[DiffusionCall]) -> list[D]:
        """Prepare passes."""
        ...

    def advance(self, batch: Sequence[D]) -> None:
        """One step of every pass of the batch, all of one `batch_key`."""
        ...

    def finish(self, batch: Sequence[D]) -> list[Pixels]:
        """Decode passes that are done."""
        ...

    def room(self, one: D) -> int:
        """How many passes like this one the free memory holds in one evaluation, by what was measured; at least 1."""
        ...

    def caches(self) -> dict[str, CacheStats]:
        """What it keeps of past asks, by name; any thread may call it."""
        ...
