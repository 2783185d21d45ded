"""What a request results in: pictures, figures about them, and where the time went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.calls import MaskProposals
from inpaint_server.domain.product import PlacedProduct, Product


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intermediates:
    """The intermediate pictures of an advert.

    Attributes:
        mask: The placed product's, of the canvas's size.
        background: The generated one, if any, of the size the models paint.
        passes: The canvas after each pass, of that size.
    """

    mask: ProductMask
    background: Pixels | None
    passes: tuple[Pixels, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Figures about a finished picture (see `imaging.receipt`).

    Attributes:
        identity: Largest difference from the placed product where it hides the scene, its soft edge aside, grey levels;
            0 = untouched; None where it hides the scene nowhere.
        compared: The fraction of the product's area that `identity` compares.
        expansion: How much the product seems to have grown, fraction of its area; None where that was not measured, or
            cannot be read.
        seam: Colour step where passes meet, over that of their surroundings; 1 = none shows.
        agreement: How well the scene shows its prompts, at most 1 (see `models.scoring`); only scored where several
            candidates are compared.
    """

    identity: int | None
    compared: float
    expansion: float | None
    seam: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """The verdicts of the bundle's safety checker on one picture.

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
        intermediates: The steps in between; None where the task has none.
        receipt: Its figures; None where there is no product.
        safety: The safety checker's verdicts; None where the bundle has none.
        warnings: Sentences about what was adjusted for this picture, or may be wrong in it.
    """

    picture: Pixels
    seed: int
    placed: PlacedProduct | None = None
    split: float | None = None
    intermediates: Intermediates | None = None
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
    """The engine's results for one request.

    Attributes:
        adverts: One for each seed, in order; empty for the `mask` task.
        product: The product in its photo; None for the `background` task.
        proposals: Segment Anything's masks, where it ran.
        timings: Where the time went.
    """

    adverts: tuple[Advert, ...]
    product: Product | None
    proposals: MaskProposals | None
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
    """What is loaded, as every answer reports it."""

    bundle: str
    device: str
    dtype: str
    attention: str
