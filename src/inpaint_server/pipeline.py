"""One advert, from its request and seed: a generator of model calls that runs no model itself.

It yields what it needs (`Generate`, `FindProduct`, `Inpaint`, `Segment`, ...), receives each call's result, and returns
the `Advert`. Whoever drives it decides where, and in which batch, a call runs.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np

from inpaint_server.domain.arrays import PaintMask, Pixels
from inpaint_server.domain.calls import (
    CheckSafety,
    DiffusionCall,
    FindProduct,
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
    blur_heavily,
    composite_product,
    extend_scene,
    resize_to_canvas,
    restore_product,
    restore_unmasked,
)
from inpaint_server.imaging.fill import fill_from_surroundings
from inpaint_server.imaging.layers import coverage_on_canvas, hide_scene, mask_on_canvas, paint_mask, split_line
from inpaint_server.imaging.light import match_light
from inpaint_server.imaging.mask import product_paint_mask
from inpaint_server.imaging.placement import canvas_from_photo, cut_off_warning, moved_warning, place, place_at
from inpaint_server.imaging.receipt import compared, expansion, fault, identity, product_points, receipt_warnings, seam
from inpaint_server.imaging.reflection import cast_reflection
from inpaint_server.imaging.shadow import cast_contact_shadow

T = TypeVar("T")
PipelineSteps: TypeAlias = Generator[ModelCall, ModelResult, T]
"""Yields model calls, receives their results, returns what they add up to."""

MAX_RETRIES = 3
"""Other seeds that are tried for a picture that the safety checker takes for unsafe."""

FILL_STRENGTH = 0.85
"""How much of a region's fill may change: enough to paint anything, while its colours still guide the painting."""

_KERNEL_REACH = 4
"""Pixels by which the painted colours are extended into the product's place before they are enlarged: a resampling
kernel's reach, and what the product's size is rounded by."""


def compose(request: AdvertRequest, seed: int) -> PipelineSteps[Advert]:
    """The advert of one seed: the best of its candidates, none of them unsafe.

    Args:
        request: Everything decided.
        seed: Decides placement, split line and the noise of every pass of this picture.
    """
    count = 1 if request.task == "background" else request.candidates
    candidates: list[Advert] = []
    unsafe: list[Advert] = []
    for number in range(count + MAX_RETRIES):
        if candidates and number >= count:
            break
        make = _make_background if request.task == "background" else _make_advert
        advert = yield from make(request, _candidate_seed(seed, number) if number else seed)
        is_unsafe = request.check_safety and (yield CheckSafety(picture=advert.picture))
        (unsafe if is_unsafe else candidates).append(advert)
    best = min(candidates, key=lambda advert: fault(advert.receipt)) if candidates else _withheld(unsafe)
    if not request.check_safety:
        return best
    refused_seeds = tuple(advert.seed for advert in unsafe)
    return replace(best, safety=Safety(refused_seeds=refused_seeds, withheld=not candidates))


def _make_background(request: AdvertRequest, seed: int) -> PipelineSteps[Advert]:
    """The generated background alone."""
    background = yield from _pixels(generate_background(request, seed))
    return Advert(picture=(yield from _upscaled_to_canvas(request, background)), seed=seed)


def _make_advert(request: AdvertRequest, seed: int) -> PipelineSteps[Advert]:
    """Generate a background, place the product on it, inpaint the layers, composite."""
    background = (yield from _pixels(generate_background(request, seed))) if _needs_background(request) else None
    product = yield from _product(request)
    rng = np.random.default_rng(seed)
    placed = place(product, request.canvas, request.placement, rng)
    split = split_line(placed, rng, background)
    painted = yield from _inpaint_layers(request, seed, background, product, placed, split)
    ground = yield from _ground(request, product, placed, painted)
    lit = match_light(ground, placed, product.photo, request.light_match)
    picture = composite_product(ground, lit, request.feather)
    receipt = yield from _receipt(request, picture, placed, painted)
    moved = moved_warning(request.placement, placed)
    cut_off = cut_off_warning(product) if request.mask is None else None
    return Advert(
        picture=picture,
        seed=seed,
        placed=placed,
        split=split,
        intermediates=Intermediates(mask=coverage_on_canvas(placed), background=background, passes=painted.passes),
        receipt=receipt,
        warnings=(*(warning for warning in (moved, cut_off) if warning), *receipt_warnings(receipt)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PaintedCanvas:
    """What the inpainting passes left, at the models' size.

    Attributes:
        placed: The product on it, as far as it hides the scene.
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


def _inpaint_layers(
    request: AdvertRequest,
    seed: int,
    background: Pixels | None,
    product: Product,
    placed: PlacedProduct,
    split: float,
) -> PipelineSteps[_PaintedCanvas]:
    """Inpaint what the product stands on and what is behind it, at the size the models know."""
    scaled = placed if request.model_size == request.canvas else place_at(product, request.model_size, placed.placement)
    small = hide_scene(scaled)
    canvas = canvas_from_photo(product, small) if background is None else composite_product(background, small, 1)
    masks = tuple(paint_mask(layer.region, small, split) for layer in request.layers)
    product_mask = mask_on_canvas(small)
    behind = product_paint_mask(product_mask)
    passes: list[Pixels] = []
    for number, (mask, layer, regions) in enumerate(_passes(request, masks), start=1):
        start, repainted = canvas, mask
        if not layer.sees_product and not request.joint:
            start, repainted = fill_from_surroundings(canvas, behind, product_mask), _union((mask, behind))
        fills = request.fill and layer.strength == 1
        painted = yield from _pixels(
            Inpaint(
                canvas=fill_from_surroundings(start, repainted, product_mask) if fills else start,
                mask=repainted,
                prompt=layer.prompt,
                negative_prompt=layer.negative_prompt,
                sampling=request.pass_sampling,
                noise_seed=noise_seed(seed, number),
                regions=regions,
                strength=FILL_STRENGTH if fills else layer.strength,
            )
        )
        canvas = restore_product(canvas, restore_unmasked(canvas, painted, mask), product_mask)
        passes.append(canvas)
    return _PaintedCanvas(placed=small, passes=tuple(passes), masks=masks)


def _passes(
    request: AdvertRequest, masks: tuple[PaintMask, ...]
) -> list[tuple[PaintMask, InpaintLayer, tuple[PromptRegion, ...]]]:
    """What each pass repaints, and with what: a layer each, or all layers in one."""
    if not request.joint:
        return [(mask, layer, ()) for mask, layer in zip(masks, request.layers, strict=True)]
    (_, first), *_ = zip(masks, request.layers, strict=True)
    return [(_union(masks), first, _prompt_regions(request, masks)[1:])]


def _prompt_regions(request: AdvertRequest, masks: tuple[PaintMask, ...]) -> tuple[PromptRegion, ...]:
    layers = zip(masks, request.layers, strict=True)
    return tuple(PromptRegion(mask=mask, prompt=layer.prompt) for mask, layer in layers)


def _needs_background(request: AdvertRequest) -> bool:
    """Whether anything of a generated background is ever visible, to a pass or in the picture.

    Layers that are painted one after the other see what is behind those still to come. One pass over all but the
    product sees the product alone.
    """
    regions = {layer.region for layer in request.layers}
    covered = "around" in regions or {"lower", "upper"} <= regions
    return request.task == "advert" and not (request.joint and covered)


def _ground(
    request: AdvertRequest, product: Product, placed: PlacedProduct, painted: _PaintedCanvas
) -> PipelineSteps[Pixels]:
    """What the product is laid on: the painted canvas at its full size, with the product's reflection and shadow."""
    bare = extend_scene(painted.pixels, mask_on_canvas(painted.placed), _KERNEL_REACH)
    ground = yield from _upscaled_to_canvas(request, bare)
    if request.task == "inpaint":
        repainted = resize_to_canvas(_union(painted.masks), request.canvas)
        ground = restore_unmasked(canvas_from_photo(product, placed), ground, repainted)
    return cast_contact_shadow(cast_reflection(ground, placed, request.reflection), placed, request.shadow)


def _receipt(
    request: AdvertRequest, picture: Pixels, placed: PlacedProduct, painted: _PaintedCanvas
) -> PipelineSteps[Receipt]:
    """Measure the finished picture; its prompts only where candidates are compared by them."""
    growth = agreement = None
    if request.receipt == "full":
        found = yield Segment(photo=picture, points=product_points(placed), box=None, remember=False)
        assert isinstance(found, MaskProposals), "`Segment` results in mask proposals"
        growth = expansion(found, placed)
    if request.candidates > 1:
        agreement = yield Score(picture=painted.pixels, regions=_prompt_regions(request, painted.masks))
        assert isinstance(agreement, float), "`Score` results in a number"
    return Receipt(
        identity=identity(picture, placed, request.feather),
        compared=compared(placed, request.feather),
        expansion=growth,
        seam=seam(painted.pixels, painted.masks, mask_on_canvas(painted.placed)),
        agreement=agreement,
    )


def _upscaled_to_canvas(request: AdvertRequest, painted: Pixels) -> PipelineSteps[Pixels]:
    """A painted picture at the canvas's size: by the bundle's upscaler where it has one, then by resampling."""
    if request.upscale and request.model_size != request.canvas:
        painted = yield from _pixels(Upscale(picture=painted))
    return resize_to_canvas(painted, request.canvas)


def generate_background(request: AdvertRequest, seed: int) -> Generate:
    """The call for the scene alone, the first of a picture of this seed."""
    return Generate(
        prompt=request.background_prompt,
        negative_prompt=request.negative_prompt,
        size=request.model_size,
        sampling=request.background_sampling,
        noise_seed=noise_seed(seed, 0),
    )


def noise_seed(seed: int, number: int) -> int:
    """The seed of one pass's noise: pass 0 (the background) uses the picture's own, the others independent streams.

    Independent of what was drawn before it, so that a pass can be painted, repeated or skipped on its own.
    """
    if number == 0:
        return seed
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _candidate_seed(seed: int, number: int) -> int:
    """A seed that a caller can send to get a chosen candidate again."""
    return int(np.random.SeedSequence((seed, 0, number)).generate_state(1, np.uint32)[0])


def _withheld(unsafe: list[Advert]) -> Advert:
    """What is answered for a picture that must not be shown: never a black one, and never without a warning."""
    warning = (
        f"The safety checker took all {len(unsafe)} pictures drawn for unsafe, and this one is blurred: "
        "change the prompts, or try another seed."
    )
    first = unsafe[0]
    return replace(first, picture=blur_heavily(first.picture), intermediates=None, warnings=(*first.warnings, warning))


def _union(masks: tuple[PaintMask, ...]) -> PaintMask:
    return PaintMask(np.maximum.reduce(masks))


def _pixels(call: DiffusionCall | Upscale) -> PipelineSteps[Pixels]:
    pixels = yield call
    assert isinstance(pixels, np.ndarray), "a pass and an upscaler result in pixels"
    return Pixels(pixels)


def _product(request: AdvertRequest) -> PipelineSteps[Product]:
    assert request.photo is not None, "only the task `background` has no photo"
    product = yield FindProduct(photo=request.photo, mask=request.mask, points=request.points, box=request.box)
    assert isinstance(product, Product), "`FindProduct` results in a product"
    return product
