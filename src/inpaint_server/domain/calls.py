"""The pipeline's model calls, and their results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box, Point, Size
from inpaint_server.domain.product import Product
from inpaint_server.domain.request import Sampling


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FindProduct:
    """The product in a request's photo; found once for all of the request's pictures.

    Attributes:
        photo: H x W x 3.
        mask: The product's mask where the caller gave one, H x W.
        points: Segment Anything prompt points, in pixels of the photo.
        box: Segment Anything prompt box, likewise.
    """

    photo: Pixels
    mask: ProductMask | None
    points: tuple[Point, ...]
    box: Box | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """Segment Anything's masks for one prompt.

    Attributes:
        photo: H x W x 3.
        points: In its pixels.
        box: In its pixels.
        remember: Whether its embedding is kept, for the next prompt on the same photo.
    """

    photo: Pixels
    points: tuple[Point, ...]
    box: Box | None
    remember: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskLogits:
    """Segment Anything's answer as it leaves the device: small, and above 0 where it takes a pixel for the product.

    Attributes:
        logits: 3 x h x w float32, of the model's padded square input.
        scores: Predicted intersection over union of each, about [0, 1].
        padded_side: Side of that input in pixels.
        resized: The part of it that is the photo.
        photo: The photo's size.
    """

    logits: NDArray[np.float32]
    scores: tuple[float, float, float]
    padded_side: int
    resized: Size
    photo: Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskProposals:
    """Segment Anything's three masks for an ambiguous prompt, and its own prediction of how good each is.

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
    """A picture from a prompt alone. Equal calls give equal pictures."""

    prompt: str
    negative_prompt: str
    size: Size
    sampling: Sampling
    noise_seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptRegion:
    """A part of what a pass repaints that has a prompt of its own."""

    mask: PaintMask
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inpaint:
    """The canvas with its masked part repainted; unmasked pixels may come back changed.

    Attributes:
        canvas: H x W x 3.
        mask: What is repainted, H x W.
        prompt: What is painted there, the regions excepted.
        negative_prompt: For all of it.
        sampling: How.
        noise_seed: What its noise is drawn from.
        regions: Parts of the mask with prompts of their own; where two overlap, the later one counts.
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
    """How well each of a picture's regions shows its prompt.

    Attributes:
        picture: H x W x 3, of a size the models paint.
        regions: The prompts, and where each applies.
    """

    picture: Pixels
    regions: tuple[PromptRegion, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckSafety:
    """Whether a picture shows what the bundle's safety checker knows as unsafe."""

    picture: Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upscale:
    """A picture enlarged by the bundle's upscaler, by the factor that was trained."""

    picture: Pixels


DiffusionCall = Generate | Inpaint
"""One diffusion pass: many steps, each of which may share a UNet call with others."""


SingleCall = Segment | Score | CheckSafety | Upscale
"""What takes no steps: one call of a model."""


ModelCall = DiffusionCall | SingleCall | FindProduct
"""Everything the pipeline needs of the models."""


ModelResult = Pixels | MaskProposals | Product | float | bool
"""Pixels of a pass or an enlarged picture, proposals of `Segment`, the product of `FindProduct`, the number of `Score`,
the verdict of `CheckSafety`."""
