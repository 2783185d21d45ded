"""The story of one advert: it asks for masks and passes and receives what was made; it never paints itself.

Each story is a generator that yields what it needs (`Generate`, `Inpaint`, `Segment`, ...), receives what was made of
it, and returns the `Advert`. Who drives it decides where and in which batch that happens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np

from inpaint_server.domain.arrays import PaintMask, Pixels
from inpaint_server.domain.calls import (
    CheckSafety,
    DiffusionCall,
    Generate,
    Inpaint,
    MaskProposals,
    ModelCall,
    ModelResult,
    PromptRegion,
    Score,
    Segment,
    Upscale,
)
from inpaint_server.domain.product import PlacedProduct, Product
from inpaint_server.domain.request import AdvertRequest, InpaintLayer
from inpaint_server.domain.results import Advert, Intermediates, Receipt, Safety
from inpaint_server.imaging.composite import (
    bare_scene,
    beyond_recognition,
    enlarged,
    keep_product,
    keep_unpainted,
    lay_product,
)
from inpaint_server.imaging.fill import filled_from_around
from inpaint_server.imaging.layers import mask_on_canvas, paint_mask, split_line
from inpaint_server.imaging.light import lit_by
from inpaint_server.imaging.mask import repaint_behind
from inpaint_server.imaging.placement import canvas_from_photo, cut_off_warning, moved_warning, place, place_at
from inpaint_server.imaging.receipt import complaints, expansion, identity, own_points, seam
from inpaint_server.imaging.reflection import cast_reflection
from inpaint_server.imaging.shadow import cast_contact_shadow

T = TypeVar("T")
PipelineSteps: TypeAlias = Generator[ModelCall, ModelResult, T]
"""Yields what it asks for, receives what was made of it, returns its own part of the story."""

MOST_RETRIES = 3
"""Other seeds that are tried for a picture that the safety checker takes for unsafe."""

_WORDS_COUNT = 1.0
"""How much of a product's growth its words being seen makes up for."""

FILL_STRENGTH = 0.85
"""How much of a region's fill may change: enough to paint anything, and its colours are still a hint."""

_SCENE_REACH = 4
"""Pixels of the scene that are carried on into the product's place before it is enlarged: a resampling kernel's reach,
and what the product's size is rounded by."""


def compose(request: AdvertRequest, seed: int, product: Callable[[], Product]) -> PipelineSteps[Advert]:
    """Tell the story of one picture, from its seed.

    Args:
        request: What was asked.
        seed: Decides placement, split line and the noise of every pass of this picture.
        product: Gives the product, waiting for its mask where that is still being found; called once the background
            is there, so that the two can be made at the same time.
    """
    wanted = 1 if request.task == "background" else request.candidates
    drawn: list[Advert] = []
    refused: list[Advert] = []
    for number in range(wanted + MOST_RETRIES):
        if drawn and number >= wanted:
            break
        its_seed = _candidate_seed(seed, number) if number else seed
        advert = yield from (_backdrop if request.task == "background" else _attempt)(request, its_seed, product)
        unsafe = request.check_safety and (yield CheckSafety(picture=advert.picture))
        (refused if unsafe else drawn).append(advert)
    kept = min(drawn, key=_faults) if drawn else _withheld(refused)
    return replace(kept, safety=_safety(refused, withheld=not drawn)) if request.check_safety else kept


def _backdrop(request: AdvertRequest, seed: int, _: Callable[[], Product]) -> PipelineSteps[Advert]:
    """The generated background alone."""
    background = yield from _painted(ask_for_background(request, seed))
    return Advert(picture=(yield from _at_canvas_size(request, background)), seed=seed)


def _attempt(request: AdvertRequest, seed: int, product: Callable[[], Product]) -> PipelineSteps[Advert]:
    """One picture from one seed."""
    background = (yield from _painted(ask_for_background(request, seed))) if _shows_background(request) else None
    rng = np.random.default_rng(seed)
    placed = place(product(), request.canvas, request.placement, rng)
    split = split_line(placed, rng, background)
    scene = yield from _paint_scene(request, seed, background, product(), placed, split)
    bare = bare_scene(scene.pixels, mask_on_canvas(scene.placed), _SCENE_REACH)
    ground = yield from _at_canvas_size(request, bare)
    if request.task == "inpaint":
        ground = keep_unpainted(
            canvas_from_photo(product(), placed), ground, enlarged(_union(scene.masks), request.canvas)
        )
    ground = cast_reflection(ground, placed, request.reflection)
    ground = cast_contact_shadow(ground, placed, request.shadow)
    lit = lit_by(ground, placed, product().photo, request.light_match)
    picture = lay_product(ground, lit, request.feather)
    receipt = yield from _receipt(request, picture, placed, scene)
    moved = moved_warning(request.placement, placed)
    cut_off = cut_off_warning(product()) if request.mask is None else None
    return Advert(
        picture=picture,
        seed=seed,
        placed=placed,
        split=split,
        intermediates=Intermediates(
            mask=mask_on_canvas(placed),
            background=None if background is None else enlarged(background, request.canvas),
            passes=tuple(enlarged(canvas, request.canvas) for canvas in scene.passes),
        ),
        receipt=receipt,
        warnings=(*(said for said in (moved, cut_off) if said), *complaints(receipt)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """What the passes painted, at the models' size.

    Attributes:
        placed: The product on it.
        passes: The canvas after each pass.
        masks: What each layer repainted.
    """

    placed: PlacedProduct
    passes: tuple[Pixels, ...]
    masks: tuple[PaintMask, ...]

    @property
    def pixels(self) -> Pixels:
        """The canvas after the last pass."""
        return self.passes[-1]


def _paint_scene(
    request: AdvertRequest,
    seed: int,
    background: Pixels | None,
    product: Product,
    placed: PlacedProduct,
    split: float,
) -> PipelineSteps[_Scene]:
    """Paint what the product stands on and what is behind it, at the size the models know."""
    small = placed if request.model_size == request.canvas else place_at(product, request.model_size, placed.placement)
    canvas = canvas_from_photo(product, small) if background is None else lay_product(background, small, 1)
    masks = tuple(paint_mask(layer.region, small, split) for layer in request.layers)
    product_mask = mask_on_canvas(small)
    behind = repaint_behind(product_mask)
    passes: list[Pixels] = []
    for number, (mask, layer, regions) in enumerate(_passes(request, masks), start=1):
        start, repainted = canvas, mask
        if not layer.sees_product and not request.joint:
            start, repainted = filled_from_around(canvas, behind, product_mask), _union((mask, behind))
        fills = request.fill and layer.strength == 1
        painted = yield from _painted(
            Inpaint(
                canvas=filled_from_around(start, repainted, product_mask) if fills else start,
                mask=repainted,
                prompt=layer.prompt,
                negative_prompt=layer.negative_prompt,
                sampling=request.pass_sampling,
                noise_seed=noise_seed(seed, number),
                regions=regions,
                strength=FILL_STRENGTH if fills else layer.strength,
            )
        )
        canvas = keep_product(canvas, keep_unpainted(canvas, painted, mask), product_mask)
        passes.append(canvas)
    return _Scene(placed=small, passes=tuple(passes), masks=masks)


def _passes(
    request: AdvertRequest, masks: tuple[PaintMask, ...]
) -> list[tuple[PaintMask, InpaintLayer, tuple[PromptRegion, ...]]]:
    """What each pass repaints, and with what: a layer each, or all layers in one."""
    if not request.joint:
        return [(mask, layer, ()) for mask, layer in zip(masks, request.layers, strict=True)]
    first, *others = zip(masks, request.layers, strict=True)
    regions = tuple(PromptRegion(mask=mask, prompt=layer.prompt) for mask, layer in others)
    return [(_union(masks), first[1], regions)]


def _shows_background(request: AdvertRequest) -> bool:
    """Whether anything of a generated background is ever seen, by a pass or in the picture.

    Layers that are painted one after the other see what is behind those still to come. One pass over all but the
    product sees the product alone.
    """
    regions = {layer.region for layer in request.layers}
    covered = "around" in regions or {"lower", "upper"} <= regions
    return request.task == "advert" and not (request.joint and covered)


def _receipt(request: AdvertRequest, picture: Pixels, placed: PlacedProduct, scene: _Scene) -> PipelineSteps[Receipt]:
    """Look at the finished picture again; at its words only where another will be compared with it."""
    found = yield Segment(photo=picture, points=own_points(placed), box=None, remember=False)
    assert isinstance(found, MaskProposals), "a mask that was asked for is answered by candidates"
    return Receipt(
        identity=identity(picture, placed, request.feather),
        expansion=expansion(found, placed),
        seam=seam(scene.pixels, scene.masks, mask_on_canvas(scene.placed)),
        agreement=(yield from _agreement(request, scene)) if request.candidates > 1 else None,
    )


def _agreement(request: AdvertRequest, scene: _Scene) -> PipelineSteps[float]:
    """How well each layer of the scene shows its prompt."""
    layers = zip(scene.masks, request.layers, strict=True)
    regions = tuple(PromptRegion(mask=mask, prompt=layer.prompt) for mask, layer in layers)
    judged = yield Score(picture=scene.pixels, regions=regions)
    assert isinstance(judged, float), "a judgement that was asked for is answered by a number"
    return judged


def _at_canvas_size(request: AdvertRequest, scene: Pixels) -> PipelineSteps[Pixels]:
    """A scene as large as the canvas: by the bundle's upscaler where it has one, and by resampling."""
    if request.upscale and request.model_size != request.canvas:
        scene = yield from _painted(Upscale(picture=scene))
    return enlarged(scene, request.canvas)


def noise_seed(seed: int, number: int) -> int:
    """The seed of one pass's noise: pass 0 (the background) uses the picture's own, the others streams apart from it.

    Independent of what was drawn before it, so that a pass can be painted, repeated or skipped on its own.
    """
    if number == 0:
        return seed
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _candidate_seed(seed: int, number: int) -> int:
    """A seed callers can give themselves to get a kept candidate again."""
    return int(np.random.SeedSequence((seed, 0, number)).generate_state(1, np.uint32)[0])


def _faults(advert: Advert) -> float:
    """How far a picture is from having nothing grown, no seam, and all of its words to be seen."""
    receipt = advert.receipt
    if receipt is None:
        return 0.0
    return receipt.expansion + 0.05 * max(0.0, receipt.seam - 1) - _WORDS_COUNT * (receipt.agreement or 0.0)


def _safety(refused: list[Advert], *, withheld: bool) -> Safety:
    return Safety(refused_seeds=tuple(advert.seed for advert in refused), withheld=withheld)


def _withheld(refused: list[Advert]) -> Advert:
    """What is answered for a picture that must not be seen: never a black one, and never without a word."""
    said = (
        f"The safety checker took all {len(refused)} pictures drawn for unsafe, and this one is blurred: "
        "change the prompts, or try another seed."
    )
    first = refused[0]
    return replace(
        first, picture=beyond_recognition(first.picture), intermediates=None, warnings=(*first.warnings, said)
    )


def _union(masks: tuple[PaintMask, ...]) -> PaintMask:
    return PaintMask(np.maximum.reduce(masks))


def _painted(ask: DiffusionCall | Upscale) -> PipelineSteps[Pixels]:
    pixels = yield ask
    assert isinstance(pixels, np.ndarray), "a picture that was asked for is answered by pixels"
    return Pixels(pixels)


def ask_for_background(request: AdvertRequest, seed: int) -> Generate:
    """The scene alone, from its words, as the first thing a picture of this seed asks for."""
    return Generate(
        prompt=request.background_prompt,
        negative_prompt=request.negative_prompt,
        size=request.model_size,
        sampling=request.background_sampling,
        noise_seed=noise_seed(seed, 0),
    )
