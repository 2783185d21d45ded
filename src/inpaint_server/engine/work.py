"""What the device loop works on: passes and looks, for whom, and how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import DiffusionCall, ModelResult, SingleCall
from inpaint_server.engine.backend import D


@dataclass(slots=True, kw_only=True, eq=False)
class PassResult:
    """A pass's pixels and the milliseconds from its first to its last moment on the device."""

    pixels: Pixels
    milliseconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class SingleResult:
    """What a look was answered by, and the milliseconds it took."""

    made: ModelResult
    milliseconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class PassWork(Generic[D]):
    """A pass to paint.

    Attributes:
        ask: What to paint.
        stop: Raises where the owner no longer wants it; called before every step.
        on_step: Told (steps done, steps in all) after every step.
        future: Where the pixels go.
        denoising: How far it is; None before it has begun and once it has ended, however it ended.
    """

    ask: DiffusionCall
    stop: Callable[[], None]
    on_step: Callable[[int, int], None]
    future: Future[PassResult] = field(default_factory=Future[PassResult])
    denoising: D | None = None
    begun: float = 0.0

    @property
    def under_way(self) -> D:
        """The pass itself, once it has begun."""
        assert self.denoising is not None, "only a pass that has begun is advanced"
        return self.denoising

    def end(self, pixels: Pixels) -> None:
        """Hand the pixels over, and let go of everything else."""
        self.denoising = None
        self.future.set_result(PassResult(pixels=pixels, milliseconds=(time.perf_counter() - self.begun) * 1000))

    def fail(self, error: Exception) -> None:
        """Say why there will be no pixels, and let go of everything else."""
        self.denoising = None
        self.future.set_exception(error)


@dataclass(slots=True, kw_only=True, eq=False)
class SingleCallWork:
    """A mask to find, a picture to judge, to check or to enlarge."""

    ask: SingleCall
    stop: Callable[[], None]
    future: Future[SingleResult] = field(default_factory=Future[SingleResult])

    def fail(self, error: Exception) -> None:
        """Say why it will not be answered."""
        self.future.set_exception(error)
