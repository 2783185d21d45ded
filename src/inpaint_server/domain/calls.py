"""What the pipeline asks of the models, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box, Point, Size
from inpaint_server.domain.request import Sampling


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """Ask for the product's mask.

    Attributes:
        photo: H x W x 3.
        points: In its pixels.
        box: In its pixels.
        remember: Whether the same photo is likely to be asked about again.
    """

    photo: Pixels
    points: tuple[Point, ...]
    box: Box | None
    remember: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskProposals:
    """What Segment Anything answers: three masks and how good it thinks each is.

    Attributes:
        masks: 3 x H x W uint8, 0 or 255.
        scores: Predicted intersection over union of each, about [0, 1].
    """

    masks: UInt8Array
    scores: tuple[float, float, float]

    @property
    def best(self) -> ProductMask:
        """The mask with the highest predicted quality."""
        return ProductMask(frozen_array(self.masks[int(np.argmax(self.scores))]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Ask for a picture from words alone. Equal asks give equal pictures."""

    prompt: str
    negative_prompt: str
    size: Size
    sampling: Sampling
    noise_seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptRegion:
    """A part of what a pass repaints that has words of its own."""

    mask: PaintMask
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inpaint:
    """Ask for the canvas with its masked part repainted; unmasked pixels may come back changed.

    Attributes:
        canvas: H x W x 3.
        mask: What is repainted, H x W.
        prompt: What is painted there, the regions excepted.
        negative_prompt: For all of it.
        sampling: How.
        noise_seed: What its noise is drawn from.
        regions: Parts of the mask with words of their own; where two overlap, the later one counts.
        strength: How much of the canvas under the mask may change, (0, 1]; 1 starts from noise alone.
    """

    canvas: Pixels
    mask: PaintMask
    prompt: str
    negative_prompt: str
    sampling: Sampling
    noise_seed: int
    regions: tuple[PromptRegion, ...] = ()
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """Ask how well each of a picture's regions shows its words.

    Attributes:
        picture: H x W x 3, of a size the models paint.
        regions: What should be seen, and where.
    """

    picture: Pixels
    regions: tuple[PromptRegion, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckSafety:
    """Ask whether a picture shows what the bundle's safety checker knows as unsafe."""

    picture: Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upscale:
    """Ask for a picture enlarged by the bundle's upscaler, by whatever factor that has."""

    picture: Pixels


DiffusionCall = Generate | Inpaint
"""One diffusion pass, as the pipeline asks for it and the engine paints it."""


SingleCall = Segment | Score | CheckSafety | Upscale
"""What takes no steps: one call of a model answers it."""


ModelCall = DiffusionCall | SingleCall
"""Whatever the pipeline asks of the models."""


ModelResult = Pixels | MaskProposals | float | bool
"""What an ask is answered by: pixels for a pass or a larger picture, candidates for a mask, how well a picture shows
its words for a judgement, whether it is unsafe for a check."""
