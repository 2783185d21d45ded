"""The interface through which the engine uses the models."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, MaskLogits, Score, Segment, Upscale


class PassState(Protocol):
    """A diffusion pass between two steps: begun, advanced step by step, finished."""

    @property
    def steps(self) -> int:
        """Steps that the whole pass takes."""
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


class PendingPicture(Protocol):
    """A picture that is being decoded while the device goes on."""

    def ready(self) -> bool:
        """Whether `pixels` returns at once."""
        ...

    def pixels(self) -> Pixels:
        """The picture; waits for it. Raises `Internal` where the pass's numbers overflowed, or `OutOfMemory`."""
        ...


class ModelBackend(Protocol[D]):
    """The models on their device. One thread calls it, but for `prepare` and `caches`, which any thread may call.

    The only error of ours that its methods raise is `OutOfMemory`. Every other method takes calls that run together,
    batches them where their sizes allow, and returns the results in the calls' order. A method that raises has changed
    nothing: fewer calls can be tried.
    """

    def prepare(self, call: Segment) -> Segment:
        """A call with the same result, for which what needs no device is done: its photo is hashed and resized."""
        ...

    def segment(self, calls: Sequence[Segment]) -> list[MaskLogits]:
        """Propose masks of products; the thread that asked enlarges them (`imaging.mask_logits`)."""
        ...

    def score(self, calls: Sequence[Score]) -> list[float]:
        """How well pictures show their prompts, at most 1 each."""
        ...

    def check_safety(self, calls: Sequence[CheckSafety]) -> list[bool]:
        """Which pictures are unsafe; called only where the bundle has a safety checker."""
        ...

    def upscale(self, calls: Sequence[Upscale]) -> list[Pixels]:
        """Enlarge pictures; called only where the bundle has an upscaler."""
        ...

    def begin(self, calls: Sequence[DiffusionCall]) -> list[D]:
        """Prepare passes."""
        ...

    def advance(self, batch: Sequence[D]) -> None:
        """Compute one step of every pass of the batch, all of one `batch_key`; the last two may still be queued."""
        ...

    def finish(self, batch: Sequence[D]) -> Sequence[PendingPicture]:
        """Start to decode passes that are done."""
        ...

    def max_passes(self, state: D) -> int:
        """How many passes like this one fit into the free memory in one evaluation, as measured; at least 1."""
        ...

    def idle(self) -> bool:
        """Called while nothing is to be done: prepare one thing for later calls; whether there is more to prepare."""
        ...

    def first_unused_word(self, prompt: str) -> str | None:
        """The word of a prompt from which on it is too long to be used; None: all of it is. Any thread may call it."""
        ...

    def caches(self) -> dict[str, CacheStats]:
        """Statistics of the backend's caches by name."""
        ...
