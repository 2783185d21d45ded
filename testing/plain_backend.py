"""A painter of plain colours: the engine and the pipeline run on it in milliseconds, without torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, Inpaint, MaskProposals, Score, Segment, Upscale


@dataclass(slots=True, eq=False)
class PlainPass:
    """A pass that counts its steps and ends in a colour made of its noise seed."""

    ask: DiffusionCall
    step: int = 0

    @property
    def steps(self) -> int:
        return self.ask.sampling.steps

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[str, tuple[int, ...]]:
        shape = self.ask.canvas.shape if isinstance(self.ask, Inpaint) else (self.ask.size.height, self.ask.size.width)
        return type(self.ask).__name__, shape[:2]


@dataclass(slots=True, eq=False)
class PlainBackend:
    """Paints colours, remembers every batch, and does what a test has put into its hooks."""

    before_step: Callable[[Sequence[PlainPass]], object] = lambda _: None
    before_call: Callable[[str, int], object] = lambda _name, _count: None
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list[list[int]])
    calls: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    fitting: int = 64
    unsafe: Callable[[Pixels], bool] = lambda _: False
    agreements: Callable[[Pixels], float] = lambda _: 0.0

    def __post_init__(self) -> None:
        self.gate.set()

    def segment(self, asks: Sequence[Segment]) -> list[MaskProposals]:
        """The middle third of each photo."""
        self._count("segment", asks)
        return [_middle(ask.photo) for ask in asks]

    def score(self, asks: Sequence[Score]) -> list[float]:
        self._count("judge", asks)
        return [self.agreements(ask.picture) for ask in asks]

    def check_safety(self, asks: Sequence[CheckSafety]) -> list[bool]:
        self._count("check", asks)
        return [self.unsafe(ask.picture) for ask in asks]

    def upscale(self, asks: Sequence[Upscale]) -> list[Pixels]:
        """Twice as large, every pixel four times."""
        self._count("enlarge", asks)
        return [Pixels(ask.picture.repeat(2, axis=0).repeat(2, axis=1)) for ask in asks]

    def begin(self, asks: Sequence[DiffusionCall]) -> list[PlainPass]:
        self._count("begin", asks)
        return [PlainPass(ask) for ask in asks]

    def advance(self, batch: Sequence[PlainPass]) -> None:
        self.gate.wait(30)
        self.before_step(batch)
        self.batches.append([one.ask.noise_seed for one in batch])
        for one in batch:
            one.step += 1

    def finish(self, batch: Sequence[PlainPass]) -> list[Pixels]:
        self._count("finish", batch)
        return [_plain(one.ask) for one in batch]

    def room(self, one: PlainPass) -> int:
        del one
        return self.fitting

    def caches(self) -> dict[str, CacheStats]:
        return {}

    def _count(self, name: str, asks: Sequence[object]) -> None:
        self.before_call(name, len(asks))
        self.calls.append((name, len(asks)))


def _middle(photo: Pixels) -> MaskProposals:
    height, width = photo.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 255
    return MaskProposals(masks=frozen_array(np.stack([mask] * 3)), scores=(0.5, 0.9, 0.1))


def _plain(ask: DiffusionCall) -> Pixels:
    shape = ask.canvas.shape if isinstance(ask, Inpaint) else (ask.size.height, ask.size.width, 3)
    return Pixels(frozen_array(np.full(shape, ask.noise_seed % 251, np.uint8)))
