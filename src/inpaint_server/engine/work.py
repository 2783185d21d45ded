"""What the device loop works on: diffusion passes, which take many steps, and single model calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import DiffusionCall, MaskLogits, ModelResult, SingleCall
from inpaint_server.engine.backend import D


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassResult:
    """A pass's pixels and the milliseconds from its first to its last moment on the device."""

    pixels: Pixels
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SingleCallResult:
    """The result of a single model call and the milliseconds that it took."""

    result: ModelResult | MaskLogits
    milliseconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class PassWork(Generic[D]):
    """A diffusion pass.

    Attributes:
        call: What to generate or inpaint.
        raise_if_ended: Raises when the request was ended early; called before every step.
        on_step: Called with (steps done, steps in all) after every step.
        future: Receives the pixels.
        state: The backend's state of the pass; None before it has begun and once it has ended, however it ended.
        began: When it began, on the performance counter.
    """

    call: DiffusionCall
    raise_if_ended: Callable[[], None]
    on_step: Callable[[int, int], None]
    future: Future[PassResult] = field(default_factory=Future[PassResult])
    state: D | None = None
    began: float = 0.0

    @property
    def active_state(self) -> D:
        """The state of a pass that has begun and has not ended."""
        assert self.state is not None, "only a pass that has begun is advanced"
        return self.state

    def end(self, pixels: Pixels) -> None:
        """Set the result and drop the state."""
        self.state = None
        if not self.future.done():  # the device may have been declared failed meanwhile
            milliseconds = (time.perf_counter() - self.began) * 1000
            self.future.set_result(PassResult(pixels=pixels, milliseconds=milliseconds))

    def fail(self, error: Exception) -> None:
        """Set the error and drop the state."""
        self.state = None
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True, kw_only=True, eq=False)
class SingleCallWork:
    """A single model call: segment, score, check safety or upscale.

    Attributes:
        call: The call.
        raise_if_ended: Raises when the request was ended early; called before the call.
        future: Receives the result.
    """

    call: SingleCall
    raise_if_ended: Callable[[], None]
    future: Future[SingleCallResult] = field(default_factory=Future[SingleCallResult])

    def fail(self, error: Exception) -> None:
        """Set the error."""
        if not self.future.done():
            self.future.set_exception(error)

    def end(self, result: ModelResult | MaskLogits, milliseconds: float) -> None:
        """Set the result."""
        if not self.future.done():  # the device may have been declared failed meanwhile
            self.future.set_result(SingleCallResult(result=result, milliseconds=milliseconds))
