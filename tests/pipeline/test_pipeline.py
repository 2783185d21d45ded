"""The pipeline of one advert: its model calls, their order, and the pixels of its result."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from inpaint_server.domain.arrays import Pixels, ProductMask, frozen_array
from inpaint_server.domain.calls import (
    DiffusionCall,
    FindProduct,
    Generate,
    Inpaint,
    MaskProposals,
    Score,
    Segment,
    Upscale,
)
from inpaint_server.domain.geometry import Placement, Size
from inpaint_server.domain.product import Product
from inpaint_server.domain.request import AdvertRequest, InpaintLayer, Region, Sampling
from inpaint_server.domain.results import Advert
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import erode, find_product
from inpaint_server.pipeline import compose, noise_seed
from testing.pipeline import Results, drive
from testing.requests import resolved

BACKGROUND = Sampling(steps=3, guidance_scale=5.0, scheduler="ddim")
PASSES = Sampling(steps=4, guidance_scale=6.0, scheduler="euler")
CANVAS = Size(height=128, width=192)
LOWER = InpaintLayer(region="lower", prompt="sand", negative_prompt="rocks")
UPPER = InpaintLayer(region="upper", prompt="sea", negative_prompt="boats")
REGIONS: tuple[Region, ...] = ("lower", "upper", "around", (0.2, 0.7))


def product() -> Product:
    """A noisy photo with a round product that has a hole."""
    photo = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    y, x = np.mgrid[:120, :100]
    radius = np.hypot(y - 60, x - 45)
    mask = np.where((radius < 40) & (radius > 12), 255, 0).astype(np.uint8)
    return find_product(Pixels(frozen_array(photo)), ProductMask(frozen_array(mask)))


def plain(size: Size, level: int) -> Pixels:
    return Pixels(frozen_array(np.full((size.height, size.width, 3), level, np.uint8)))


def request(**changes: object) -> AdvertRequest:
    usual = replace(
        resolved(
            product().photo, background_prompt="sea and sky", foreground_prompt="", negative_prompt="people", shadow=0.0
        ),
        layers=(LOWER, UPPER),
        canvas=CANVAS,
        model_size=CANVAS,
        seeds=(7,),
        background_sampling=BACKGROUND,
        pass_sampling=PASSES,
        feather=3,
    )
    return replace(usual, **changes)  # pyright: ignore[reportArgumentType]


def run(
    request: AdvertRequest, seed: int = 7, of: Callable[[], Product] = product
) -> tuple[list[DiffusionCall], Advert]:
    """The passes of a picture painted with noise, and its advert."""
    calls, advert = drive(compose(request, seed), {FindProduct: lambda _: of()})
    return [call for call in calls if isinstance(call, Generate | Inpaint)], advert


def test_advert_calls_background_then_lower_then_upper():
    passes, advert = run(request())
    background, lower, upper = passes
    assert isinstance(background, Generate)
    assert (background.prompt, background.negative_prompt, background.size) == ("sea and sky", "people", CANVAS)
    assert background.sampling == BACKGROUND
    assert isinstance(lower, Inpaint)
    assert isinstance(upper, Inpaint)
    assert (lower.prompt, lower.negative_prompt, lower.sampling) == ("sand", "rocks", PASSES)
    assert (upper.prompt, upper.negative_prompt, upper.sampling) == ("sea", "boats", PASSES)
    assert advert.intermediates is not None
    assert np.array_equal(upper.canvas, advert.intermediates.passes[0]), (
        "the upper pass paints on the lower pass's result"
    )


def test_joint_layers_are_one_pass_with_prompts_by_region():
    one_by_one, _ = run(request())
    passes, advert = run(request(joint=True))
    assert [type(call) for call in passes] == [Inpaint], "no background would be visible"
    joint, lower, upper = passes[0], *one_by_one[1:]
    assert isinstance(joint, Inpaint)
    assert isinstance(lower, Inpaint)
    assert isinstance(upper, Inpaint)
    assert (joint.prompt, joint.negative_prompt, joint.noise_seed) == ("sand", "rocks", noise_seed(7, 1))
    assert [region.prompt for region in joint.regions] == ["sea"]
    assert np.array_equal(joint.regions[0].mask, upper.mask)
    assert np.array_equal(joint.mask, np.maximum(lower.mask, upper.mask))
    assert advert.intermediates is not None
    assert advert.intermediates.background is None
    assert len(advert.intermediates.passes) == 1


def test_joint_layers_with_visible_background_generate_it():
    middle = InpaintLayer(region=(0.5, 0.8), prompt="sand", negative_prompt="")
    passes, advert = run(request(layers=(middle,), joint=True))
    assert [type(call) for call in passes] == [Generate, Inpaint]
    assert advert.intermediates is not None
    assert advert.intermediates.background is not None


def test_each_pass_has_own_noise_seed():
    passes, _ = run(request())
    seeds = [call.noise_seed for call in passes]
    assert seeds == [7, noise_seed(7, 1), noise_seed(7, 2)]
    assert len(set(seeds)) == 3


def test_masks_repaint_region_but_not_product():
    passes, advert = run(request())
    assert advert.placed is not None
    assert advert.intermediates is not None
    assert advert.split is not None
    line = round(advert.split * CANVAS.height)
    solid = advert.intermediates.mask >= 128
    lower, upper = (call.mask for call in passes if isinstance(call, Inpaint))
    assert not lower[solid].any()
    assert not upper[solid].any()
    assert (lower[line:][~solid[line:]] == 255).all()
    assert not lower[:line].any()
    assert (upper[: line + 8][~solid[: line + 8]] == 255).all()
    assert not upper[line + 8 :].any()


def test_layer_behind_product_does_not_depend_on_product():
    layers = (LOWER, replace(UPPER, sees_product=False))
    negative = replace(product(), photo=Pixels(frozen_array(255 - product().photo)))
    (_, lower, upper), advert = run(request(layers=layers))
    (_, other_lower, other_upper), _ = run(request(layers=layers), of=lambda: negative)
    assert isinstance(lower, Inpaint)
    assert isinstance(upper, Inpaint)
    assert isinstance(other_lower, Inpaint)
    assert isinstance(other_upper, Inpaint)
    assert (lower.canvas != other_lower.canvas).any(), "the model sees the product when it paints the ground"
    np.testing.assert_array_equal(upper.canvas, other_upper.canvas)
    assert advert.intermediates is not None
    place, solid = advert.intermediates.mask > 0, advert.intermediates.mask >= 128
    assert (upper.mask[place] == 255).all(), "the background is painted behind the product, too"
    first, second = advert.intermediates.passes
    np.testing.assert_array_equal(second[solid], first[solid], "and the product is visible again afterwards")


@pytest.mark.parametrize("order", list(itertools.permutations(REGIONS, 2)) + [(region,) for region in REGIONS])
@pytest.mark.parametrize("feather", [0, 1, 3, 8])
def test_product_pixels_are_untouched(order: tuple[Region, ...], feather: int):
    layers = tuple(InpaintLayer(region=region, prompt="x", negative_prompt="") for region in order)
    _, advert = run(request(layers=layers, feather=feather))
    placed = advert.placed
    assert placed is not None
    inside = erode(mask_on_canvas(placed), feather)[placed.box.slices] == 255
    assert inside.any()
    shown = advert.picture[placed.box.slices].astype(int)
    assert np.abs(shown - placed.pixels)[inside].max() == 0


def test_photo_background_is_replaced():
    _, advert = run(request(layers=(InpaintLayer(region="around", prompt="x", negative_prompt=""),)))
    assert advert.intermediates is not None
    outside = erode(ProductMask(np.where(advert.intermediates.mask == 0, 255, 0).astype(np.uint8)), 3) == 255
    assert np.array_equal(advert.picture[outside], advert.intermediates.passes[-1][outside])


def test_seed_determines_picture_and_placement():
    first, again, other = run(request()), run(request()), run(request(), seed=8)
    assert np.array_equal(first[1].picture, again[1].picture)
    assert first[1].placed is not None
    assert other[1].placed is not None
    assert first[1].placed.box != other[1].placed.box


def test_placement_outside_canvas_is_moved_with_warning():
    _, advert = run(request(placement=Placement(scale=3.0, x=0.0, y=0.1)))
    assert advert.placed is not None
    box = advert.placed.box
    assert box.left >= 0
    assert box.top >= 0
    assert box.right <= CANVAS.width
    assert box.bottom <= CANVAS.height
    assert "whole product" in advert.warnings[0]


def test_background_task_is_one_pass_without_product():
    passes, advert = run(request(task="background", layers=()))
    assert [type(call) for call in passes] == [Generate]
    assert advert.placed is None


def test_inpainted_region_starts_from_surrounding_colours():
    (call,), _ = run(request(task="inpaint", placement="original", layers=(LOWER,), fill=True))
    (plain,), _ = run(request(task="inpaint", placement="original", layers=(LOWER,)))
    assert isinstance(call, Inpaint)
    assert isinstance(plain, Inpaint)
    assert (call.strength, plain.strength) == (0.85, 1.0)
    repainted = call.mask > 0
    np.testing.assert_array_equal(call.canvas[~repainted], plain.canvas[~repainted])
    assert (call.canvas[repainted] != plain.canvas[repainted]).any()
    kept = replace(LOWER, strength=0.4)
    (call,), _ = run(request(task="inpaint", placement="original", layers=(kept,), fill=True))
    assert isinstance(call, Inpaint)
    assert call.strength == 0.4
    np.testing.assert_array_equal(call.canvas, plain.canvas)


def test_inpaint_task_starts_from_photo():
    passes, advert = run(request(task="inpaint", placement="original", layers=(LOWER,)))
    assert [type(call) for call in passes] == [Inpaint]
    assert advert.placed is not None
    assert advert.split is not None
    first = passes[0]
    assert isinstance(first, Inpaint)
    above = np.zeros((CANVAS.height, CANVAS.width), bool)
    above[: round(advert.split * CANVAS.height) - 16] = True
    assert advert.intermediates is not None
    beside = erode(ProductMask(np.where(advert.intermediates.mask == 0, 255, 0).astype(np.uint8)), 3) == 255
    untouched = above & beside
    assert untouched.any()
    assert np.array_equal(advert.picture[untouched], first.canvas[untouched])
    assert advert.intermediates.background is None


def test_large_canvas_is_painted_at_model_size():
    canvas = Size(height=270, width=480)
    passes, advert = run(request(canvas=canvas, model_size=Size(height=72, width=128), shadow=0.4))
    sizes = [call.size if isinstance(call, Generate) else call.canvas.shape[:2] for call in passes]
    assert sizes == [Size(height=72, width=128), (72, 128), (72, 128)]
    assert advert.picture.shape == (270, 480, 3)
    assert advert.placed is not None
    assert advert.placed.box.size.height > 120, "the product is resampled to the canvas, not to the scene"
    assert advert.receipt is not None
    assert advert.receipt.identity == 0
    assert advert.intermediates is not None
    assert advert.intermediates.mask.shape == (270, 480)
    assert {painted.shape[:2] for painted in advert.intermediates.passes} == {(72, 128)}, (
        "enlarged where they are answered"
    )


def test_upscaler_enlarges_scene_but_not_product():
    canvas, scene = Size(height=270, width=480), Size(height=72, width=128)
    striped = Pixels(frozen_array(np.tile(np.array([[[0]], [[255]]], np.uint8), (135, 480, 3))))
    calls, advert = drive(
        compose(request(canvas=canvas, model_size=scene, upscale=True), 7),
        {
            FindProduct: lambda _: product(),
            Upscale: lambda _: striped,
            **dict.fromkeys((Generate, Inpaint), lambda _: plain(scene, 90)),
        },
    )
    enlarged = [call.picture for call in calls if isinstance(call, Upscale)]
    assert [picture.shape for picture in enlarged] == [(72, 128, 3)]
    assert advert.receipt is not None
    assert advert.receipt.identity == 0
    assert advert.intermediates is not None
    outside = erode(ProductMask(np.where(advert.intermediates.mask < 128, 255, 0).astype(np.uint8)), 8) == 255
    assert np.array_equal(advert.picture[outside], striped[outside]), "of the canvas's size already, it stays as it is"


def edge_response(picture: np.ndarray) -> float:
    """Steepest rise of a light-dark edge, median over its rows, grey levels a pixel."""
    rises = np.abs(np.diff(picture.astype(float).mean(axis=2), axis=1))
    return float(np.median(rises.max(axis=1)))


@pytest.mark.parametrize("canvas", [Size(height=1080, width=1920), Size(height=1920, width=1080)], ids=["16:9", "9:16"])
def test_product_is_sharp_at_1920_pixels(canvas: Size):
    y, x = np.mgrid[:1500, :1200]
    slanted = np.where(x > 600 + 0.1 * (y - 750), 230, 40).astype(np.uint8)
    mask = np.where(np.hypot((y - 750) / 600, (x - 600) / 450) < 1, 255, 0).astype(np.uint8)
    sharp = find_product(
        Pixels(frozen_array(np.repeat(slanted[..., None], 3, axis=2))), ProductMask(frozen_array(mask))
    )
    small = Size(height=144, width=256) if canvas.width > canvas.height else Size(height=256, width=144)
    _, advert = run(request(canvas=canvas, model_size=small, placement="centre", feather=2), of=lambda: sharp)
    assert advert.placed is not None
    box = advert.placed.box
    photo = Image.fromarray(sharp.photo)
    scale = box.size.height / sharp.box.size.height
    reduced = photo.resize((round(1200 * scale), round(1500 * scale)), Image.Resampling.LANCZOS)
    middle = box.size.height // 4
    top, left = round(sharp.box.top * scale) + middle, round(sharp.box.left * scale) + box.size.width // 4
    own = np.asarray(reduced)[top : top + 2 * middle, left : left + box.size.width // 2]
    shown = advert.picture[box.top + middle : box.top + 3 * middle, box.left + box.size.width // 4 :]
    assert edge_response(shown[:, : box.size.width // 2]) == pytest.approx(edge_response(own), rel=0.05)
    assert edge_response(own) > 60, "else there is no edge to be blurred"


def test_enlarged_scene_hides_small_product():
    white = find_product(Pixels(np.full((120, 100, 3), 255, np.uint8)), product().mask)
    canvas, scene = Size(height=270, width=480), Size(height=72, width=128)
    advert_request = request(canvas=canvas, model_size=scene)
    results: Results = {
        FindProduct: lambda _: white,
        Generate: lambda _: plain(scene, 0),
        Inpaint: lambda _: plain(scene, 0),
    }
    _, advert = drive(compose(advert_request, 7), results)
    assert advert.intermediates is not None
    outside = (
        erode(ProductMask(np.where(advert.intermediates.mask < 128, 255, 0).astype(np.uint8)), advert_request.feather)
        == 255
    )
    assert advert.picture[outside].max() == 0


def test_quick_receipt_segments_nothing_and_tells_no_growth():
    def whole_canvas(call: Segment) -> MaskProposals:
        return MaskProposals(masks=np.full((3, *call.photo.shape[:2]), 255, np.uint8), scores=(0.9, 0.5, 0.1))

    results: Results = {FindProduct: lambda _: product(), Segment: whole_canvas}
    usual = replace(request(), placement=Placement(scale=0.9, x=0.5, y=0.95))
    (full_calls, full), (quick_calls, quick) = (
        drive(compose(replace(usual, receipt=detail), 7), results) for detail in ("full", "quick")
    )
    assert [type(call) for call in full_calls] == [*(type(call) for call in quick_calls), Segment]
    assert np.array_equal(full.picture, quick.picture)
    assert full.receipt is not None
    assert full.receipt.expansion is not None
    assert quick.receipt == replace(full.receipt, expansion=None)
    assert any("grown" in warning for warning in full.warnings)
    assert not any("grown" in warning for warning in quick.warnings)


@pytest.mark.parametrize(
    ("grown_by", "agreements"), [((60, 0, 30), (0.1, 0.1, 0.1)), ((0, 0, 0), (0.1, 0.4, 0.2))], ids=["growth", "words"]
)
def test_best_candidate_is_kept_with_its_seed(grown_by: tuple[int, ...], agreements: tuple[float, ...]):
    advert_request = request(candidates=3)
    growths, scores = iter(grown_by), iter(agreements)

    def grown(call: Segment) -> MaskProposals:
        masks = np.zeros((3, *call.photo.shape[:2]), np.uint8)
        masks[:, : next(growths)] = 255
        return MaskProposals(masks=masks, scores=(0.9, 0.5, 0.1))

    results: Results = {FindProduct: lambda _: product(), Segment: grown, Score: lambda _: next(scores)}
    calls, advert = drive(compose(advert_request, 7), results)
    seeds = [call.noise_seed for call in calls if isinstance(call, Generate)]
    scored = [call for call in calls if isinstance(call, Score)]
    assert len(set(seeds)) == 3
    assert seeds[0] == 7
    assert advert.seed == seeds[1]
    assert max(seeds) < 2**32, "a kept candidate's seed can be sent"
    assert advert.receipt is not None
    assert advert.receipt.agreement == agreements[1]
    assert [[region.prompt for region in one.regions] for one in scored] == [["sand", "sea"]] * 3
