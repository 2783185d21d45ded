"""The glossary: what a photo, a mask, a placement, a pass and an advert are. NumPy only.

Arrays are read-only once they are inside one of these types (see `frozen_array`), so that a value can be
handed to another thread, cached or compared without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]

Pixels = NewType("Pixels", UInt8Array)
"""H x W x 3 uint8, RGB, [0, 255]."""

ProductMask = NewType("ProductMask", UInt8Array)
"""H x W uint8; 255 = product, 0 = anything else, in between = the soft edge (matte)."""

PaintMask = NewType("PaintMask", UInt8Array)
"""H x W uint8, 0 or 255; 255 = repaint, 0 = keep: the inpainting model's polarity."""

Task = Literal["advert", "mask", "background", "inpaint"]
Scheduler = Literal["dpmpp_2m_karras", "dpmpp_2m", "euler", "euler_ancestral", "ddim", "pndm", "lcm", "unipc"]
OutputFormat = Literal["png", "jpeg", "webp"]
RegionName = Literal["lower", "upper", "around"]


def frozen_array(array: UInt8Array) -> UInt8Array:
    """Return a contiguous, read-only array of the same values (a copy only where one is needed)."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A picture's size in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def shorter_side(self) -> int:
        """The smaller of height and width."""
        return min(self.height, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open rectangle in pixels: rows [top, bottom), columns [left, right)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """The rectangle's height and width."""
        return Size(height=self.bottom - self.top, width=self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that cut this rectangle out of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A Segment Anything prompt point, in pixels of the photo; label 1 = product, 0 = not product."""

    x: float
    y: float
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the product stands.

    Attributes:
        scale: Longer side of the product's bounding box over the canvas's shorter side.
        x: Bottom centre of the box, fraction of the canvas's width, [0, 1].
        y: Bottom of the box, fraction of the canvas's height, [0, 1].
    """

    scale: float
    x: float
    y: float


PlacementRule = Literal["random", "centre", "original"] | Placement
"""How a placement is found: drawn from the seed, centred, as in the photo, or given."""

Region = RegionName | tuple[float, float]
"""A part of the canvas, the product excepted: named, or rows [y0, y1) as fractions of the height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One inpainting pass.

    Attributes:
        region: What is repainted.
        prompt: With what.
        negative_prompt: And with what not.
        strength: How much of what was there may change, (0, 1]; 1 starts from noise alone.
        sees_product: Whether the product is in sight while the layer is painted. What is not seen cannot be continued:
            no second handle grows from it, and nothing of its colours bleeds into the scene.
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
class Product:
    """The product in its photo.

    Attributes:
        photo: The whole photo, H x W x 3.
        mask: The product in it, same H x W.
        box: The mask's bounding box.
    """

    photo: Pixels
    mask: ProductMask
    box: Box

    @property
    def size(self) -> Size:
        """The photo's size."""
        return Size(height=self.mask.shape[0], width=self.mask.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedProduct:
    """The product, resampled once to its size on the canvas, and nothing else.

    Attributes:
        pixels: h x w x 3, the photo's own pixels at the placed size.
        mask: h x w, the product's mask at the placed size.
        box: Where this rectangle lies on the canvas; its size is h x w.
        canvas: The canvas's size.
        placement: The same in the wire's words.
    """

    pixels: Pixels
    mask: ProductMask
    box: Box
    canvas: Size
    placement: Placement


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
class Candidates:
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
class WordedRegion:
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
    regions: tuple[WordedRegion, ...] = ()
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """Ask how well each of a picture's regions shows its words.

    Attributes:
        picture: H x W x 3, of a size the models paint.
        regions: What should be seen, and where.
    """

    picture: Pixels
    regions: tuple[WordedRegion, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """Ask whether a picture shows what the bundle's safety checker knows as unsafe."""

    picture: Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enlarge:
    """Ask for a picture enlarged by the bundle's upscaler, by whatever factor that has."""

    picture: Pixels


Pass = Generate | Inpaint
"""One diffusion pass, as the pipeline asks for it and the engine paints it."""

Look = Segment | Judge | Check | Enlarge
"""What takes no steps: one call of a model answers it."""

Ask = Pass | Look
"""Whatever the pipeline asks of the models."""

Made = Pixels | Candidates | float | bool
"""What an ask is answered by: pixels for a pass or a larger picture, candidates for a mask, how well a picture shows
its words for a judgement, whether it is unsafe for a check."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdvertRequest:
    """A request with everything decided: optional on the wire, total inside.

    Attributes:
        task: The whole pipeline or one stage.
        photo: The product photo; None only for the `background` task.
        mask: The product's mask if the caller gave one (or the photo had an alpha channel).
        points: Segment Anything prompt points in the photo's pixels.
        box: Segment Anything prompt box in the photo's pixels.
        background_prompt: The scene, for the generated background.
        negative_prompt: For the generated background; layers carry their own.
        layers: The inpainting passes in order.
        canvas: The advert's size.
        scene: The size the models paint the scene at; no larger than what they were trained for.
        placement: Where the product stands, or how to find it.
        seeds: One for each picture asked for.
        background_sampling: For the generated background.
        pass_sampling: For the inpainting passes.
        feather: Width of the soft edge around the product, pixels of the canvas.
        shadow: How dark the ground is where the product touches it, 0 (no shadow) to 1.
        reflection: How much of the product is mirrored in the ground at its foot, 0 to 1.
        light_match: How much of the scene's light falls on the product, 0 (its pixels stay as they are) to 1.
        candidates: Pictures drawn for each one answered; the best is kept.
        upscale: Whether the bundle's upscaler enlarges a scene that is painted smaller than the canvas.
        check_safety: Whether the bundle's safety checker looks at every picture.
        fill: Whether a region that is repainted from nothing starts from the colours around it, not from noise alone.
        joint: Whether all layers are painted in one pass, each with its own words, instead of one after the other.
        output_format: How pictures are encoded.
        return_layers: Whether the steps in between are answered too.
        asked: The fields that decide a picture, in the wire's words, without pictures and seed.
        warnings: Sentences about what was adjusted on the way in.
    """

    task: Task
    photo: Pixels | None
    mask: ProductMask | None
    points: tuple[Point, ...]
    box: Box | None
    background_prompt: str
    negative_prompt: str
    layers: tuple[Layer, ...]
    canvas: Size
    scene: Size
    placement: PlacementRule
    seeds: tuple[int, ...]
    background_sampling: Sampling
    pass_sampling: Sampling
    feather: int
    shadow: float
    reflection: float
    light_match: float
    candidates: int
    output_format: OutputFormat
    return_layers: bool
    upscale: bool = False
    check_safety: bool = False
    fill: bool = False
    joint: bool = False
    asked: Mapping[str, object] = field(default_factory=dict[str, object])
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """The steps in between of one advert: placed mask, generated background if any, the canvas after each pass."""

    mask: ProductMask
    background: Pixels | None
    passes: tuple[Pixels, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was done to a picture, in figures (see `imaging.receipt`).

    Attributes:
        identity: Largest difference from the placed product inside its eroded mask, grey levels; 0 = untouched.
        expansion: How much the product seems to have grown, fraction of its area.
        seam: Colour step where passes meet, over that of their surroundings; 1 = none shows.
        agreement: How well the scene shows its words, at most 1 (see `models.judgement`); only judged where several
            candidates are compared.
    """

    identity: int
    expansion: float
    seam: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """What the bundle's safety checker said while one picture was drawn.

    Attributes:
        refused_seeds: Seeds whose pictures it took for unsafe; other seeds were tried after each.
        withheld: Whether it did so with every one, and what is answered is blurred beyond recognition.
    """

    refused_seeds: tuple[int, ...]
    withheld: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Advert:
    """One finished picture.

    Attributes:
        picture: The canvas, H x W x 3.
        seed: What it was drawn from.
        placed: The product on the canvas; None where there is none (task `background`).
        split: The split line between lower and upper layer, fraction of the canvas's height.
        layers: The steps in between; None where the task has none.
        receipt: Its figures; None where there is no product.
        safety: What the safety checker said; None where the bundle has none.
        warnings: Sentences about what was adjusted for this picture, or does not look right in it.
    """

    picture: Pixels
    seed: int
    placed: PlacedProduct | None = None
    split: float | None = None
    layers: Layers | None = None
    receipt: Receipt | None = None
    safety: Safety | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds of each stage of one request; stages of several pictures are added up."""

    queue: float = 0.0
    segment: float = 0.0
    background: float = 0.0
    passes: tuple[float, ...] = ()
    composite: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What the engine made of one request.

    Attributes:
        adverts: One for each seed, in order; empty for the `mask` task.
        product: The product in its photo; None for the `background` task.
        candidates: What Segment Anything answered, where it was asked.
        timings: Where the time went.
    """

    adverts: tuple[Advert, ...]
    product: Product | None
    candidates: Candidates | None
    timings: Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of one pass is done.

    Attributes:
        picture: Index of the picture, from 0.
        stage: `background`, or `pass 1`, `pass 2`, ...
        step: Steps done in this pass, from 1.
        steps: Steps of this pass.
    """

    picture: int
    stage: str
    step: int
    steps: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What is loaded, as every answer tells it."""

    bundle: str
    device: str
    dtype: str
    attention: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDefaults:
    """What a bundle decides where a request is silent.

    Attributes:
        size: The canvas its models were trained for.
        guidance_scale: The guidance its models look best at.
        few_step_weights: Whether it carries weights for few steps.
        safety_checker: Whether it carries a safety checker.
        upscaler: Whether it carries an upscaler.
    """

    size: Size
    guidance_scale: float = field(default=7.5)
    few_step_weights: bool = False
    safety_checker: bool = False
    upscaler: bool = False
