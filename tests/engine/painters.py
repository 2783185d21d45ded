"""A painter of plain colours: the engine and the pipeline run on it in milliseconds, without torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from inpaint_server.cache import CacheStats
from inpaint_server.types import Candidates, Inpaint, Pass, Pixels, Segment, frozen_array


@dataclass(slots=True, eq=False)
class PlainPass:
    """A pass that counts its steps and ends in a colour made of its noise seed."""

    ask: Pass
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
class PlainPainter:
    """Paints colours, remembers every batch, and does what a test has put into its hooks."""

    before_step: Callable[[Sequence[PlainPass]], object] = lambda _: None
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list[list[int]])
    segmented: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def segment(self, ask: Segment) -> Candidates:
        """The middle third of the photo."""
        self.segmented += 1
        height, width = ask.photo.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 255
        return Candidates(masks=frozen_array(np.stack([mask] * 3)), scores=(0.5, 0.9, 0.1))

    def begin(self, ask: Pass) -> PlainPass:
        return PlainPass(ask)

    def advance(self, batch: list[PlainPass]) -> None:
        self.gate.wait(30)
        self.before_step(batch)
        self.batches.append([one.ask.noise_seed for one in batch])
        for one in batch:
            one.step += 1

    def finish(self, denoising: PlainPass) -> Pixels:
        ask = denoising.ask
        shape = ask.canvas.shape if isinstance(ask, Inpaint) else (ask.size.height, ask.size.width, 3)
        return Pixels(frozen_array(np.full(shape, ask.noise_seed % 251, np.uint8)))

    def caches(self) -> dict[str, CacheStats]:
        return {}
