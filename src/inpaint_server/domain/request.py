"""A request with everything decided: optional on the wire, total inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Box, Placement, Point, Size

Task = Literal["advert", "mask", "background", "inpaint"]


Scheduler = Literal["dpmpp_2m_karras", "dpmpp_2m", "euler", "euler_ancestral", "ddim", "pndm", "lcm", "unipc"]


MAX_STEPS: Final[Mapping[Scheduler, int]] = {"lcm": 50}
"""The most steps that a solver can take, where there are fewer than a request may ask for: latent consistency models
are distilled from 50 steps (Luo et al., 2023)."""


OutputFormat = Literal["png", "jpeg", "webp"]


ReceiptDetail = Literal["full", "quick"]
"""What is measured of a finished picture: everything, or only what needs no model."""


RegionName = Literal["lower", "upper", "around"]


PlacementRule = Literal["random", "centre", "original"] | Placement
"""How a placement is found: drawn from the seed, centred, as in the photo, or given."""


Region = RegionName | tuple[float, float]
"""A part of the canvas, the product excepted: named, or rows [y0, y1) as fractions of the height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintLayer:
    """One inpainting pass.

    Attributes:
        region: What is repainted.
        prompt: With what.
        negative_prompt: And with what not.
        strength: How much of what was there may change, (0, 1]; 1 starts from noise alone.
        sees_product: Whether the product is visible while the layer is painted. What is not visible cannot be
            continued: no second handle grows from it, and nothing of its colours bleeds into the scene.
    """

    region: Region
    prompt: str
    negative_prompt: str
    strength: float = 1.0
    sees_product: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a diffusion pass samples.

    Attributes:
        steps: Number of scheduler steps, >= 1.
        guidance_scale: Classifier-free guidance; 1 or less evaluates the conditional model alone.
        scheduler: The solver.
        guidance_interval: Part of the steps that is guided, as fractions [start, end) of them; in the others the
            conditional model is evaluated alone.
        reuse_features: Every how many steps the model's deep features are computed anew; 1 = in each.
        few_step_weights: Whether the bundle's weights for few steps are used.
    """

    steps: int
    guidance_scale: float
    scheduler: Scheduler
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    reuse_features: int = 1
    few_step_weights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdvertRequest:
    """A request with everything decided: optional on the wire, total inside.

    Attributes:
        task: The whole pipeline or one stage.
        photo: The product photo; None only for the `background` task.
        mask: The product's mask if the caller gave one (or the photo had an alpha channel).
        mask_is_alpha: Whether it is the photo's alpha channel: then the colours of its soft parts are the product's
            own, without any of an old background.
        points: Segment Anything prompt points in the photo's pixels.
        box: Segment Anything prompt box in the photo's pixels.
        background_prompt: The scene, for the generated background.
        negative_prompt: For the generated background; layers carry their own.
        layers: The inpainting passes in order.
        canvas: The advert's size.
        model_size: The size the models paint the scene at; no larger than what they were trained for.
        placement: Where the product stands, or how to find it.
        seeds: One for each picture.
        background_sampling: For the generated background.
        pass_sampling: For the inpainting passes.
        feather: Width of the soft edge around the product, pixels of the canvas.
        shadow: How dark the ground is where the product touches it, 0 (no shadow) to 1.
        reflection: How much of the product is mirrored in the ground at its foot, 0 to 1.
        light_match: How much of the scene's light falls on the product, 0 (its pixels stay as they are) to 1.
        candidates: Pictures drawn for each one answered; the best is kept.
        receipt: What is measured of each picture.
        upscale: Whether the bundle's upscaler enlarges a scene that is painted smaller than the canvas.
        check_safety: Whether the bundle's safety checker examines every picture.
        fill: Whether a region that is repainted from nothing starts from the colours around it, not from noise alone.
        joint: Whether all layers are painted in one pass, each with its own words, instead of one after the other.
    """

    task: Task
    photo: Pixels | None
    mask: ProductMask | None
    points: tuple[Point, ...]
    box: Box | None
    background_prompt: str
    negative_prompt: str
    layers: tuple[InpaintLayer, ...]
    canvas: Size
    model_size: Size
    placement: PlacementRule
    seeds: tuple[int, ...]
    background_sampling: Sampling
    pass_sampling: Sampling
    feather: int
    shadow: float
    reflection: float
    light_match: float
    candidates: int
    upscale: bool = False
    check_safety: bool = False
    fill: bool = False
    joint: bool = False
    mask_is_alpha: bool = False
    receipt: ReceiptDetail = "full"

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that conditions a picture, each once."""
        background = (self.background_prompt, self.negative_prompt) if self.task in ("advert", "background") else ()
        layers = (prompt for layer in self.layers for prompt in (layer.prompt, layer.negative_prompt))
        return tuple(dict.fromkeys((*background, *layers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDefaults:
    """What a bundle decides where a request is silent.

    Attributes:
        size: The canvas its models were trained for.
        guidance_scale: The guidance that suits its models best.
        few_step_weights: Whether it carries weights for few steps.
        safety_checker: Whether it carries a safety checker.
        upscaler: Whether it carries an upscaler.
    """

    size: Size
    guidance_scale: float = field(default=7.5)
    few_step_weights: bool = False
    safety_checker: bool = False
    upscaler: bool = False
