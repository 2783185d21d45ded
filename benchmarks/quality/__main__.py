"""Our adverts beside the replaced sample's: same weights, photos, prompts, seeds, solver and steps.

    python -m benchmarks.quality [--bundle demo] [--number 200] [--out out/quality]

Writes `table.md`, `figures.json`, `grid.jpg` (one picture of each photo and scene, the replaced way beside ours) and
`worst.jpg` (our ten with the most faults), and prints the table: three zones, inside the product, its rim, and the
scene around it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from benchmarks.quality import measures
from benchmarks.quality.expansion import DRAWN_ON, read_expansion
from benchmarks.quality.measures import Painted, Placed, Result, compared
from benchmarks.quality.replaced import Segmented, is_cut, replaced_advert, where_it_would_place
from benchmarks.quality.together import run_together
from inpaint_server import settings
from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import Segment
from inpaint_server.domain.geometry import Placement, Point, Size
from inpaint_server.domain.product import Product
from inpaint_server.domain.request import AdvertRequest, BundleDefaults
from inpaint_server.imaging.codec import decode_photo
from inpaint_server.imaging.composite import composite_product, default_feather
from inpaint_server.imaging.layers import mask_on_canvas, paint_mask
from inpaint_server.imaging.mask import drop_strays, find_product
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.imaging.matting import refine
from inpaint_server.imaging.placement import place, place_at
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose
from inpaint_server.pipeline import PipelineSteps, compose
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import validate
from testing.pipeline import with_product
from training.dataset import render
from training.evaluate import centred
from training.making import Making

PHOTOS: Final = sorted((bundles.DEMO.parent / "photos").glob("*.jpg"))
SCENES: Final = (
    ("park with trees", "green grass"),
    ("brick wall", "wooden table"),
    ("sunset over the sea", "sand"),
    ("forest", "stone"),
)
SIDE_BY_SIDE: Final = 8
WORST: Final = 10
DRAWS: Final = 3_000
DRAWN: Final = 40
READ: Final = 64


def main(
    *,
    bundle: Annotated[str, typer.Option(help="`demo` or a folder.")] = "demo",
    number: Annotated[int, typer.Option(min=1, help="Pictures generated in each way.")] = 200,
    out: Annotated[Path, typer.Option(help="Folder for table and sheets.")] = Path("out/quality"),
) -> None:
    """Generate every picture in three ways, measure, and write table and sheets."""
    settings.let_waiting_threads_sleep()
    opened = bundles.open_bundle(bundles.find(bundle, Path()))
    backend = TorchBackend(opened, choose("auto", "auto"))
    found = [_segment_file(backend, path) for path in PHOTOS]
    results: dict[str, list[Result]] = {way: [] for way in WAYS}
    with tqdm(desc="pictures") as bar:
        for start in range(0, number, SIDE_BY_SIDE):
            tasks = [_task(index, found, opened.defaults) for index in range(start, min(number, start + SIDE_BY_SIDE))]
            pipelines = [way(*task) for way in WAYS.values() for task in tasks]
            measured = iter(run_together(backend, pipelines))
            for way in WAYS:
                results[way] += islice(measured, len(tasks))
            bar.update(len(pipelines))
    out.mkdir(parents=True, exist_ok=True)
    products = [one.product for one in found]
    read = run_together(backend, [read_expansion(*_task(index, found, opened.defaults)) for index in range(READ)])
    table = _table(results, _cut_off(products, opened.defaults.size), _rims(backend)) + _readings(read)
    (out / "table.md").write_text(table)
    figures = {way: [result.figures for result in painted] for way, painted in results.items()}
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    _save_sheets(results, out)
    print(table)


def our_advert(found: Segmented, request: AdvertRequest, seed: int) -> PipelineSteps[Result]:
    """The project's own, the product where the replaced way puts it, or the nearest place where it is whole."""
    advert = yield from with_product(compose(request, seed), found.product)
    assert advert.placed is not None
    assert advert.split is not None
    assert advert.intermediates is not None
    assert advert.intermediates.background is not None
    masks = tuple(paint_mask(layer.region, advert.placed, advert.split) for layer in request.layers)
    placed = Placed(product=advert.placed, masks=masks, shown=mask_on_canvas(advert.placed))
    painted = Painted(
        picture=advert.picture, scene=advert.intermediates.passes[-1], background=advert.intermediates.background
    )
    return (yield from compared(request, seed, painted, placed))


def _plain_advert(found: Segmented, request: AdvertRequest, seed: int) -> PipelineSteps[Result]:
    """Ours with nothing against growth and seams: passes that start from noise and keep nothing of the background."""
    layers = tuple(replace(layer, strength=1.0, sees_product=True) for layer in request.layers)
    return our_advert(found, replace(request, layers=layers, fill=False, shadow=0.0), seed)


WAYS: Final = {"replaced": replaced_advert, "plain passes": _plain_advert, "ours": our_advert}


def _task(index: int, found: Sequence[Segmented], defaults: BundleDefaults) -> tuple[Segmented, AdvertRequest, int]:
    """The photo, the request and the seed of one picture; photos and scenes take turns."""
    one = found[index % len(found)]
    background, foreground = SCENES[index // len(found) % len(SCENES)]
    fields = {"background_prompt": background, "foreground_prompt": foreground}
    request = resolve(validate(fields, has_image=True), one.product.photo, None, defaults, draw_seed=lambda: 0)
    placement = where_it_would_place(one.product, request.canvas, index)
    return one, replace(request, placement=placement), index


def _segment_file(backend: TorchBackend, path: Path) -> Segmented:
    photo, _ = decode_photo(path.read_bytes(), max_pixels=64_000_000)
    return _segment(backend, photo)


def _segment(backend: TorchBackend, photo: Pixels) -> Segmented:
    height, width = photo.shape[:2]
    centre = Point(x=(width - 1) / 2, y=(height - 1) / 2, label=1)
    candidates = propose_masks(backend.segment([Segment(photo=photo, points=(centre,), box=None)])[0])
    product = find_product(photo, refine(photo, drop_strays(candidates.best)))
    return Segmented(product=product, candidates=candidates)


def _cut_off(products: Sequence[Product], canvas: Size) -> tuple[float, float]:
    """Share of draws in which part of the product is lost: the replaced way, and ours."""
    rng = np.random.default_rng(0)
    draws = [product for product in products for _ in range(DRAWS // len(products))]
    replaced = np.mean([is_cut(product, canvas, rng) for product in draws])
    return float(replaced), float(np.mean([_ours_is_cut(product, canvas, rng) for product in draws]))


def _ours_is_cut(product: Product, canvas: Size, rng: np.random.Generator) -> bool:
    placed = place(product, canvas, "random", rng)
    box = placed.box
    inside = box.left >= 0 and box.top >= 0 and box.right <= canvas.width and box.bottom <= canvas.height
    scale = box.size.pixels / product.box.size.pixels
    return not inside or (placed.mask >= 128).sum() < 0.9 * scale * (product.mask >= 128).sum()


def _rims(backend: TorchBackend) -> tuple[tuple[float, float], tuple[float, float]]:
    """Halo and loss of both ways on drawn photos whose true mask is known, the product laid on grey where it stands."""
    drawn = render(Making.demo().held_out.recipe, DRAWN, Path("out") / "held-out", workers=1)
    rims: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for picture, mask in zip(drawn.pixels, drawn.mask, strict=True):
        cut, true = centred(picture, mask)
        photo = Pixels(frozen_array(cut))
        grey = Pixels(frozen_array(np.full_like(photo, 128)))
        ideal = np.where(true[..., None] >= 128, photo, grey)
        found = _segment(backend, photo)
        weight = (found.candidates.masks.max(axis=0)[..., None] / 255.0) ** 2
        size = found.product.size
        ours = composite_product(
            grey, place_at(found.product, size, _as_it_stands(found.product)), default_feather(size)
        )
        theirs = np.rint(photo * weight + grey * (1 - weight))
        rims.append((measures.rim(theirs, ideal, true), measures.rim(ours, ideal, true)))
    replaced, own = np.mean(rims, axis=0).tolist()
    return (replaced[0], replaced[1]), (own[0], own[1])


def _as_it_stands(product: Product) -> Placement:
    box, size = product.box, product.size
    return Placement(
        scale=max(box.size.height, box.size.width) / size.shorter_side,
        x=(box.left + box.right) / 2 / size.width,
        y=box.bottom / size.height,
    )


def _table(
    results: dict[str, list[Result]],
    cut: tuple[float, float],
    rims: tuple[tuple[float, float], tuple[float, float]],
) -> str:
    (their_halo, their_loss), (our_halo, our_loss) = rims
    rows = [
        _row("product cut off, share of draws", cut[0], None, cut[1]),
        _row("rim, outside: the old background as a halo, drawn photos, grey levels", their_halo, None, our_halo),
        _row("rim, inside: what is lost of the product, drawn photos, grey levels", their_loss, None, our_loss),
    ]
    for name, field in {
        "inside the product: difference from the photo, grey levels": "interior",
        "scene: colour step where the passes meet, over its surroundings": "seam",
        "scene: colours beside the product against those beyond, Lab": "colour_distance",
        "the same, more than in the background without a product": "colour_step",
        "scene: agreement with its words": "agreement",
        "the product's expansion, fraction of its area": "expansion",
        "the product's growth: the same, more than alone on grey": "growth",
    }.items():
        rows.append(_row(name, *(measures.mean(results[way], field) for way in WAYS)))
    head = "| mean | replaced | plain passes | ours | ours / replaced | ours / plain |\n" + "| --- " * 6 + "|\n"
    return f"{len(results['ours'])} pictures in each way\n\n{head}" + "\n".join(rows) + "\n"


def _readings(read: Sequence[tuple[float, float]]) -> str:
    """How far the figure for growth can be trusted."""
    nothing, some = np.array(read).T
    return (
        "\n| expansion as read | mean | median |\n| --- | --- | --- |\n"
        f"| where no pass has painted and nothing can have grown | {nothing.mean():.3f} | {np.median(nothing):.3f} |\n"
        f"| the same, {DRAWN_ON} of the product drawn on | {some.mean():.3f} | {np.median(some):.3f} |\n"
    )


def _row(name: str, replaced: float, plain: float | None, ours: float) -> str:
    ratios = [f"{ours / other:.2f}" if other else "" for other in (replaced, plain)]
    figures = f"{replaced:.3f} | {'' if plain is None else f'{plain:.3f}'} | {ours:.3f}"
    return f"| {name} | {figures} | {' | '.join(ratios)} |"


def _save_sheets(results: dict[str, list[Result]], out: Path) -> None:
    ours = results["ours"]
    shown = range(min(len(ours), len(PHOTOS) * len(SCENES)))
    pairs = [
        (f"{PHOTOS[index % len(PHOTOS)].stem}, {way}", results[way][index].picture)
        for index in shown
        for way in ("replaced", "ours")
    ]
    _save(contact_sheet(pairs, tile_height=256, columns=2 * len(PHOTOS)), out / "grid.jpg")
    worst = sorted(ours, key=lambda result: result.faults, reverse=True)[:WORST]
    labelled = [
        (
            f"seed {one.seed}: grown {one.growth:.2f}, seam {one.seam:.1f}, colours {one.colour_distance:.0f}",
            one.picture,
        )
        for one in worst
    ]
    _save(contact_sheet(labelled, tile_height=256, columns=5), out / "worst.jpg")


def _save(sheet: Pixels, path: Path) -> None:
    Image.fromarray(sheet).save(path, quality=88)


if __name__ == "__main__":
    typer.run(main)
