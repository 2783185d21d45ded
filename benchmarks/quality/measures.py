"""What is measured on a finished picture, in three zones: in the product, at its rim, and in the scene around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, frozen_array
from inpaint_server.domain.calls import MaskProposals, PromptRegion, Score, Segment
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import AdvertRequest
from inpaint_server.imaging.composite import composite_product, default_feather
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import THRESHOLD, erode
from inpaint_server.imaging.neighbourhood import grow
from inpaint_server.imaging.receipt import expansion, product_points, seam
from inpaint_server.pipeline import PipelineSteps

_NEAR: Final = 12
"""Pixels around the product whose colours should be those of the scene beyond them."""

_BEYOND: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Painted:
    """The pictures of one way, each H x W x 3 uint8.

    Attributes:
        picture: The advert.
        scene: What the passes left, before the product was laid on it again.
        background: What was generated first, without a product.
    """

    picture: Pixels
    scene: Pixels
    background: Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Where a product stands in a picture.

    Attributes:
        product: The product that should stand there.
        masks: Where each pass repainted, 255 = repainted.
        shown: H x W, the product as the way itself masked it.
    """

    product: PlacedProduct
    masks: tuple[PaintMask, ...]
    shown: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One picture and its figures.

    Attributes:
        picture: H x W x 3.
        seed: What it was drawn from.
        words: Its background prompt and its foreground prompt.
        interior: Mean difference from the photo resampled once, inside the mask eroded by 2 pixels, grey levels.
        seam: Colour step where the passes meet, over that of their surroundings; 1 = none.
        expansion: Area found beyond the product and joined to it, fraction of its area.
        growth: By how much that is more than of the same product alone on grey, where nothing can have grown.
        colour_distance: Between the scene right beside the product and the scene beyond, CIE 1976 Lab.
        colour_step: By how much that is more than at the same place of the background that was generated first.
        agreement: How well the scene matches its prompts, at most 1.
    """

    picture: Pixels
    seed: int
    words: tuple[str, str]
    interior: float
    seam: float
    expansion: float
    growth: float
    colour_distance: float
    colour_step: float
    agreement: float

    @property
    def figures(self) -> dict[str, object]:
        """All but the picture."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "picture"}

    @property
    def faults(self) -> float:
        """What pictures are ranked by: growth, seams, colours that do not belong."""
        return max(0.0, self.growth) + 0.1 * max(0.0, self.seam - 1) + 0.02 * self.colour_distance


def compared(request: AdvertRequest, seed: int, painted: Painted, placed: Placed) -> PipelineSteps[Result]:
    """Measure a picture; the models find its product again and score its prompts."""
    points = product_points(placed.product)
    found = yield Segment(photo=painted.picture, points=points, box=None, remember=False)
    assert isinstance(found, MaskProposals), "Segment is answered by mask proposals"
    grey = Pixels(frozen_array(np.full_like(painted.picture, 128)))
    alone = composite_product(grey, placed.product, default_feather(placed.product.canvas))
    found_alone = yield Segment(photo=alone, points=points, box=None, remember=False)
    assert isinstance(found_alone, MaskProposals), "Segment is answered by mask proposals"
    regions = zip(placed.masks, request.layers, strict=True)
    judged = yield Score(
        picture=painted.scene, regions=tuple(PromptRegion(mask=mask, prompt=layer.prompt) for mask, layer in regions)
    )
    assert isinstance(judged, float), "Score is answered by a number"
    distance = colour_distance(painted.picture, placed.product)
    grown = expansion(found, placed.product)
    return Result(
        picture=painted.picture,
        seed=seed,
        words=(request.layers[-1].prompt, request.layers[0].prompt),
        interior=interior(painted.picture, placed.product),
        seam=seam(painted.scene, placed.masks, ProductMask(placed.shown)),
        expansion=grown,
        growth=grown - expansion(found_alone, placed.product),
        colour_distance=distance,
        colour_step=distance - colour_distance(painted.background, placed.product),
        agreement=judged,
    )


def interior(picture: Pixels, placed: PlacedProduct) -> float:
    """Mean difference from the placed product inside its mask eroded by 2 pixels, grey levels."""
    inside = erode(mask_on_canvas(placed), 2)[placed.box.slices] == 255
    shown = picture[placed.box.slices].astype(int)
    return float(np.abs(shown - placed.pixels)[inside].mean()) if inside.any() else 0.0


def colour_distance(picture: Pixels, placed: PlacedProduct) -> float:
    """How far the colours right beside the product are from those of the scene beyond, row by row; Lab, median.

    A halo, a patch of the photo's old background or a blob grown around the product raises it; a wall or a table that
    goes on behind the product does not.
    """
    mask = mask_on_canvas(placed) >= THRESHOLD
    touching, near, beyond = (grow(mask, radius) for radius in (2, _NEAR, _BEYOND))
    lab = _lab(picture)
    distances = [
        float(np.linalg.norm(lab[row, close].mean(axis=0) - lab[row, far].mean(axis=0)))
        for row in range(placed.box.top, placed.box.bottom)
        if (close := near[row] & ~touching[row]).any() and (far := beyond[row] & ~near[row]).any()
    ]
    return float(np.median(distances)) if distances else 0.0


def rim(shown: np.ndarray, ideal: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean difference from the ideal cut-out within 3 pixels of the product's outline, grey levels.

    Returns:
        Outside it, where remains of the photo are a halo, and inside it, where missing pixels are lost.
    """
    inside = mask >= THRESHOLD
    edge = grow(inside, 3) & grow(~inside, 3)
    difference = np.abs(shown.astype(int) - ideal.astype(int))
    return float(difference[edge & ~inside].mean()), float(difference[edge & inside].mean())


def mean(results: Sequence[Result], name: str) -> float:
    """Of one figure over many pictures."""
    return float(np.mean([getattr(result, name) for result in results]))


def _lab(picture: Pixels) -> np.ndarray:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(Image.fromarray(picture), srgb, lab, outputMode="LAB")
    assert converted is not None, "a conversion that is not in place gives a picture"
    values = np.asarray(converted).astype(np.float32)
    signed = np.where(values[..., 1:] > 127, values[..., 1:] - 256, values[..., 1:])
    return np.concatenate([values[..., :1] * (100 / 255), signed], axis=2)
