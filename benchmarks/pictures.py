"""How our adverts look beside the replaced sample's algorithm: same weights, photos, prompts, seeds and steps.

    python benchmarks/pictures.py [--bundle demo] [--seeds 4] [--candidates 1] [--sheet sheet.png]

Prints a Markdown table of three zones: inside the product, its rim, and the scene around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from inpaint_server import settings
from inpaint_server.imaging.codec import decode_photo
from inpaint_server.imaging.composite import default_feather, lay_product
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.mask import bounding_box, drop_strays, erode, find_product
from inpaint_server.imaging.matting import refine
from inpaint_server.imaging.neighbourhood import count_around
from inpaint_server.imaging.placement import place, place_at
from inpaint_server.imaging.receipt import deepest_point, expansion, seam
from inpaint_server.models import bundle as bundles
from inpaint_server.models.device import choose
from inpaint_server.models.painter import Painter
from inpaint_server.pipeline import compose, noise_seed
from inpaint_server.schema import validate
from inpaint_server.serving.resolve import resolve
from inpaint_server.types import (
    AdvertRequest,
    Box,
    BundleDefaults,
    Candidates,
    Generate,
    Inpaint,
    PaintMask,
    Pass,
    Pixels,
    PlacedProduct,
    Placement,
    Point,
    Product,
    ProductMask,
    Segment,
    Size,
    frozen_array,
)
from training.dataset import Composites, render
from training.evaluate import centred
from training.making import Making

SCENES = (
    ("park with trees", "green grass"),
    ("brick wall", "wooden table"),
    ("sunset over the sea", "sand"),
    ("forest", "stone"),
)
PHOTOS = bundles.DEMO.parent / "photos"
DRAWS = 3_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One picture, where its product is, and what was measured on it."""

    picture: Pixels
    placed: PlacedProduct
    expansion: float
    seam: float


def main(
    *,
    bundle: Annotated[str, typer.Option(help="`demo` or a folder.")] = "demo",
    seeds: Annotated[int, typer.Option(help="Pictures of each photo in each scene.")] = 2,
    candidates: Annotated[int, typer.Option(help="Ours: pictures drawn for each one kept.")] = 1,
    sheet: Annotated[Path | None, typer.Option(help="Save the pictures, the replaced way above ours.")] = None,
) -> None:
    """Draw every photo in every scene in both ways, and print what was measured."""
    settings.let_waiting_threads_sleep()
    opened = bundles.open_bundle(bundles.find(bundle, Path()))
    painter = Painter(opened, choose("auto", "auto"))
    photos = sorted(PHOTOS.glob("*.jpg"))
    results: dict[str, list[Result]] = {"replaced": [], "ours": []}
    products: list[Product] = []
    drawn = render(Making.demo().held_out.recipe, 40, Path("out") / "held-out", workers=1)
    for photo in tqdm(photos, desc="photos"):
        pixels, _ = decode_photo(photo.read_bytes(), max_pixels=64_000_000)
        found = painter.segment([_at_the_centre(pixels)])[0]
        product = find_product(pixels, refine(pixels, drop_strays(found.best)))
        products.append(product)
        for words in SCENES:
            request = _request(pixels, words, opened.defaults, candidates)
            for seed in range(seeds):
                theirs = replaced_way(painter, product, found, request, seed)
                results["replaced"].append(theirs)
                same_place = replace(request, placement=theirs.placed.placement)
                results["ours"].append(our_way(painter, product, same_place, seed))
    _print_table(results, products, opened.defaults.size, _rims(painter, drawn))
    if sheet is not None:
        _save_sheet(results, seeds * len(SCENES), sheet)


def our_way(painter: Painter, product: Product, request: AdvertRequest, seed: int) -> Result:
    """The project's own story, told to the models without engine or server."""
    story = compose(request, seed, lambda: product)
    try:
        ask = next(story)
        while True:
            ask = story.send(painter.segment([ask])[0] if isinstance(ask, Segment) else paint(painter, ask))
    except StopIteration as end:
        advert = end.value
    return Result(
        picture=advert.picture, placed=advert.placed, expansion=advert.receipt.expansion, seam=advert.receipt.seam
    )


def replaced_way(painter: Painter, product: Product, found: Candidates, request: AdvertRequest, seed: int) -> Result:
    """The replaced sample's algorithm: squashed photo, random shift, passes that repaint everything, soft paste."""
    rng, canvas = np.random.default_rng(seed), request.canvas
    union = np.where(found.masks.max(axis=0) > 0, 255, 0).astype(np.uint8)
    photo, mask = (_scaled(_scaled(part, canvas, 1.0), canvas, 0.6) for part in (product.photo, union))
    across, down = _random_shift(rng, canvas)
    placed_photo, placed_mask = (_shifted(part, canvas, across, down) for part in (photo, mask))
    background = paint(painter, _background(request, seed))
    anti = (255 - placed_mask)[..., None]
    canvas_now = Pixels(frozen_array(np.where(placed_mask[..., None] > 0, placed_photo, background)))
    line = _centroid(placed_mask) - rng.uniform(0, 1 / 3) * np.ptp(np.flatnonzero(placed_mask.any(axis=1)))
    rows = np.arange(canvas.height)[:, None]
    masks = [
        PaintMask(np.where((placed_mask == 0) & part, 255, 0).astype(np.uint8)) for part in (rows >= line, rows < line)
    ]
    for number, (layer, repaint) in enumerate(zip(request.layers, masks, strict=True), start=1):
        canvas_now = paint(
            painter,
            Inpaint(
                canvas=canvas_now,
                mask=repaint,
                prompt=layer.prompt,
                negative_prompt=layer.negative_prompt,
                sampling=request.pass_sampling,
                noise_seed=noise_seed(seed, number),
            ),
        )
    weight = (1 - anti / 255.0) ** 2
    picture = Pixels(np.rint(placed_photo * weight + canvas_now * (1 - weight)).astype(np.uint8))
    placed = _what_was_placed(product, canvas, across, down)
    seen = painter.segment([Segment(photo=picture, points=(deepest_point(placed),), box=None, remember=False)])[0]
    return Result(
        picture=picture,
        placed=placed,
        expansion=expansion(seen, placed),
        seam=seam(canvas_now, masks, ProductMask(placed_mask)),
    )


def paint(painter: Painter, ask: Pass) -> Pixels:
    """One pass from its first step to its pixels."""
    (denoising,) = painter.begin([ask])
    while not denoising.done:
        painter.advance([denoising])
    return painter.finish([denoising])[0]


def _request(photo: Pixels, words: tuple[str, str], defaults: BundleDefaults, candidates: int) -> AdvertRequest:
    fields = {"image": "given", "background_prompt": words[0], "foreground_prompt": words[1], "candidates": candidates}
    return resolve(validate(fields), photo, None, defaults, draw_seed=lambda: 0)


def _background(request: AdvertRequest, seed: int) -> Generate:
    return Generate(
        prompt=request.background_prompt,
        negative_prompt=request.negative_prompt,
        size=request.scene,
        sampling=request.background_sampling,
        noise_seed=noise_seed(seed, 0),
    )


def _at_the_centre(photo: Pixels) -> Segment:
    height, width = photo.shape[:2]
    return Segment(photo=photo, points=(Point(x=(width - 1) / 2, y=(height - 1) / 2, label=1),), box=None)


def _scaled(picture: np.ndarray, canvas: Size, factor: float) -> np.ndarray:
    size = (round(canvas.width * factor), round(canvas.height * factor))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _random_shift(rng: np.random.Generator, canvas: Size) -> tuple[int, int]:
    """Left and top of the scaled photo: about the middle, shifted by its published ranges."""
    across, down = rng.uniform(-0.4, 0.4), rng.uniform(0.10, 0.25)
    return round((0.2 + across) * canvas.width), round((0.2 + down) * canvas.height)


def _shifted(picture: np.ndarray, canvas: Size, left: int, top: int) -> np.ndarray:
    """The picture on an empty canvas; what sticks out is lost."""
    height, width = picture.shape[:2]
    sheet = np.zeros((3 * canvas.height, 3 * canvas.width, *picture.shape[2:]), np.uint8)
    sheet[canvas.height + top :, canvas.width + left :][:height, :width] = picture
    return sheet[canvas.height : 2 * canvas.height, canvas.width : 2 * canvas.width]


def _centroid(mask: np.ndarray) -> float:
    rows = (mask > 0).sum(axis=1)
    return float(np.arange(len(rows)) @ rows / max(1, rows.sum()))


def _what_was_placed(product: Product, canvas: Size, left: int, top: int) -> PlacedProduct:
    """The photo resampled once to where the replaced way put it: what its pixels are held against."""
    photo, mask = (_shifted(_scaled(part, canvas, 0.6), canvas, left, top) for part in (product.photo, product.mask))
    box = bounding_box(ProductMask(mask))
    return PlacedProduct(
        pixels=Pixels(photo[box.slices]),
        mask=ProductMask(mask[box.slices]),
        box=box,
        canvas=canvas,
        placement=Placement(
            scale=max(box.size.height, box.size.width) / canvas.shorter_side,
            x=(box.left + box.right) / 2 / canvas.width,
            y=box.bottom / canvas.height,
        ),
    )


def _ours_is_cut(product: Product, canvas: Size, rng: np.random.Generator) -> bool:
    placed = place(product, canvas, "random", rng)
    whole = (placed.mask >= 128).sum() / max(1, (product.mask >= 128).sum())
    scale = placed.box.size.height / product.box.size.height * placed.box.size.width / product.box.size.width
    return not _contains(canvas, placed.box) or whole < 0.9 * scale


def _contains(canvas: Size, box: Box) -> bool:
    return box.left >= 0 and box.top >= 0 and box.right <= canvas.width and box.bottom <= canvas.height


def _replaced_is_cut(product: Product, canvas: Size, rng: np.random.Generator) -> bool:
    """Whether one draw of the replaced way's shift pushes part of the product out of the canvas."""
    left, top = _random_shift(rng, canvas)
    height, width = product.mask.shape
    box = Box(
        left=left + round(product.box.left / width * 0.6 * canvas.width),
        top=top + round(product.box.top / height * 0.6 * canvas.height),
        right=left + round(product.box.right / width * 0.6 * canvas.width),
        bottom=top + round(product.box.bottom / height * 0.6 * canvas.height),
    )
    return not _contains(canvas, box)


def _interior(result: Result) -> float:
    """Mean difference from the photo resampled once, inside the mask eroded by 2 pixels."""
    inside = erode(mask_on_canvas(result.placed), 2)[result.placed.box.slices] == 255
    shown = result.picture[result.placed.box.slices].astype(int)
    return float(np.abs(shown - result.placed.pixels)[inside].mean())


def _rims(painter: Painter, drawn: Composites) -> tuple[float, float]:
    """Halo of both ways on drawn photos whose true mask is known: difference from the ideal cut-out near its edge.

    The product is cut out and laid on plain grey where it stands: the replaced sample's union of masks and weight, and
    our mask, matte and edge colours.
    """
    errors: list[tuple[float, float]] = []
    for picture, mask in zip(drawn.pixels, drawn.mask, strict=True):
        photo, true = (np.ascontiguousarray(part) for part in centred(picture, mask))
        edge = (count_around(true >= 128, 3) > 0) & (count_around(true < 128, 3) > 0)
        grey = Pixels(np.full_like(photo, 128))
        ideal = np.where(true[..., None] >= 128, photo, grey).astype(int)
        found = painter.segment([_at_the_centre(Pixels(photo))])[0]
        weight = (found.masks.max(axis=0)[..., None] / 255.0) ** 2
        theirs = photo * weight + grey * (1 - weight)
        product = find_product(Pixels(photo), refine(Pixels(photo), drop_strays(found.best)))
        size = product.size
        ours = lay_product(grey, place_at(product, size, _as_it_stands(product)), default_feather(size))
        errors.append((float(np.abs(theirs - ideal)[edge].mean()), float(np.abs(ours - ideal)[edge].mean())))
    replaced, own = np.mean(errors, axis=0)
    return float(replaced), float(own)


def _as_it_stands(product: Product) -> Placement:
    box, size = product.box, product.size
    return Placement(
        scale=max(box.size.height, box.size.width) / size.shorter_side,
        x=(box.left + box.right) / 2 / size.width,
        y=box.bottom / size.height,
    )


def _print_table(
    results: dict[str, list[Result]], products: Sequence[Product], canvas: Size, rims: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    draws = [product for product in products for _ in range(DRAWS // len(products))]
    cut = [np.mean([is_cut(product, canvas, rng) for product in draws]) for is_cut in (_replaced_is_cut, _ours_is_cut)]
    rows: dict[str, tuple[float, ...]] = {"product cut off, share of draws": (float(cut[0]), float(cut[1]))}
    rows["its rim: mean difference from the ideal cut-out, drawn photos, grey levels"] = rims
    for name, figure in {
        "inside the product: mean difference from the photo, grey levels": _interior,
        "the scene: step where the passes meet, over its surroundings": lambda result: result.seam,
        "the product's growth, fraction of its area": lambda result: result.expansion,
    }.items():
        rows[name] = tuple(float(np.mean([figure(one) for one in results[way]])) for way in ("replaced", "ours"))
    print(f"{len(results['ours'])} pictures each, {canvas.width} x {canvas.height}\n")
    print("| | replaced | ours | ours / replaced |\n| --- | --- | --- | --- |")
    for name, (replaced, ours) in rows.items():
        print(f"| {name} | {replaced:.3f} | {ours:.3f} | {ours / replaced:.2f} |")


def _save_sheet(results: dict[str, list[Result]], columns: int, path: Path) -> None:
    rows = [
        np.concatenate([one.picture for one in results[way][start : start + columns]], axis=1)
        for start in range(0, len(results["ours"]), columns)
        for way in ("replaced", "ours")
    ]
    Image.fromarray(np.concatenate(rows)).save(path)


if __name__ == "__main__":
    typer.run(main)
