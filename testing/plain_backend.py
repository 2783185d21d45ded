"""A backend of plain colours: the engine and the pipeline run on it in milliseconds, without torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, Inpaint, MaskLogits, Score, Segment, Upscale
from inpaint_server.domain.geometry import Size


@dataclass(slots=True, eq=False)
class PlainPass:
    """A pass that counts its steps and results in a colour from its noise seed."""

    call: DiffusionCall
    step: int = 0

    @property
    def steps(self) -> int:
        return self.call.sampling.steps

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[str, tuple[int, ...]]:
        shape = (
            self.call.canvas.shape if isinstance(self.call, Inpaint) else (self.call.size.height, self.call.size.width)
        )
        return type(self.call).__name__, shape[:2]


@dataclass(slots=True, eq=False)
class PlainPicture:
    """The colour of a pass, ready when the backend says so."""

    call: DiffusionCall
    backend: PlainBackend

    def ready(self) -> bool:
        return self.backend.arrived(self.call)

    def pixels(self) -> Pixels:
        self.backend.before_pixels(self.call)
        return _plain(self.call)


@dataclass(slots=True, eq=False)
class PlainBackend:
    """Returns plain colours, records every batch and call, and runs the hooks that a test sets."""

    before_step: Callable[[Sequence[PlainPass]], object] = lambda _: None
    when_idle: Callable[[], bool] = lambda: False
    before_call: Callable[[str, int], object] = lambda _name, _count: None
    arrived: Callable[[DiffusionCall], bool] = lambda _: True
    before_pixels: Callable[[DiffusionCall], object] = lambda _: None
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list[list[int]])
    calls: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    prepared_on: list[str] = field(default_factory=list[str])
    capacity: int = 64
    unsafe: Callable[[Pixels], bool] = lambda _: False
    agreements: Callable[[Pixels], float] = lambda _: 0.0

    def __post_init__(self) -> None:
        self.gate.set()

    def prepare(self, call: Segment) -> Segment:
        self.prepared_on.append(threading.current_thread().name)
        return call

    def segment(self, calls: Sequence[Segment]) -> list[MaskLogits]:
        """The middle third of each photo."""
        self._count("segment", calls)
        return [_middle(call.photo) for call in calls]

    def score(self, calls: Sequence[Score]) -> list[float]:
        self._count("score", calls)
        return [self.agreements(call.picture) for call in calls]

    def check_safety(self, calls: Sequence[CheckSafety]) -> list[bool]:
        self._count("check_safety", calls)
        return [self.unsafe(call.picture) for call in calls]

    def upscale(self, calls: Sequence[Upscale]) -> list[Pixels]:
        """Twice as large, every pixel four times."""
        self._count("upscale", calls)
        return [Pixels(call.picture.repeat(2, axis=0).repeat(2, axis=1)) for call in calls]

    def begin(self, calls: Sequence[DiffusionCall]) -> list[PlainPass]:
        self._count("begin", calls)
        return [PlainPass(call) for call in calls]

    def advance(self, batch: Sequence[PlainPass]) -> None:
        self.gate.wait(30)
        self.before_step(batch)
        self.batches.append([state.call.noise_seed for state in batch])
        for state in batch:
            state.step += 1

    def finish(self, batch: Sequence[PlainPass]) -> list[PlainPicture]:
        self._count("finish", batch)
        return [PlainPicture(state.call, self) for state in batch]

    def max_passes(self, state: PlainPass) -> int:
        del state
        return self.capacity

    def idle(self) -> bool:
        return self.when_idle()

    def first_unused_word(self, prompt: str) -> str | None:
        """It reads ten words."""
        return next(iter(prompt.split()[10:]), None)

    def caches(self) -> dict[str, CacheStats]:
        return {}

    def _count(self, name: str, calls: Sequence[object]) -> None:
        self.before_call(name, len(calls))
        self.calls.append((name, len(calls)))


def _middle(photo: Pixels) -> MaskLogits:
    height, width = photo.shape[:2]
    side = max(height, width)
    logits = np.full((3, side, side), -1, np.float32)
    logits[:, height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 1
    size = Size(height=height, width=width)
    return MaskLogits(logits=logits, scores=(0.5, 0.9, 0.1), padded_side=side, resized=size, photo=size)


def _plain(call: DiffusionCall) -> Pixels:
    shape = call.canvas.shape if isinstance(call, Inpaint) else (call.size.height, call.size.width, 3)
    return Pixels(frozen_array(np.full(shape, call.noise_seed % 251, np.uint8)))
