"""What each way of asking for fewer evaluations saves, and what it does to the picture: same weights, photos and seeds.

    python benchmarks/sampling.py [--bundle demo] [--subjects 6] [--seeds 2] [--sheet FILE] [--way NAME=FIELDS ...]

Prints a Markdown table. An evaluation is one row of a UNet call: a step with guidance takes two, a joint one three.
The ways take turns at every picture, so their ratios hold on a busy machine. What a picture shows is named by the small
judges that the demo bundle is tested with; the share of right names is a rough measure, and of the demo bundle alone.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from PIL import Image

from inpaint_server import settings
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.request import AdvertRequest, BundleDefaults
from inpaint_server.domain.results import Advert
from inpaint_server.engine.engine import Engine
from inpaint_server.imaging.codec import decode_photo
from inpaint_server.imaging.layers import mask_on_canvas
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import validate
from training.judge import BACKDROP_PROMPTS, SURFACE_PROMPTS, Judge, lower_part

PHOTOS: Final = bundles.DEMO.parent / "photos"
JUDGES: Final = Path(__file__).parents[1] / "tests" / "training" / "judges"
Subject = tuple[str, str, str]
"""A demo photo, and the judges' words for what is behind it and below it."""

SUBJECTS: Final[tuple[Subject, ...]] = (
    ("coffee", "brick wall", "wood"),
    ("bottle", "park", "grass"),
    ("shoe", "beach", "sand"),
    ("mug", "living room", "marble"),
    ("speaker", "forest", "stone"),
    ("box", "mountains", "snow"),
)
WAYS: Final[dict[str, dict[str, Any]]] = {
    "seed": {"profile": "seed"},
    "quality": {},
    "guided in [0, 0.5]": {"guidance_interval": [0.0, 0.5]},
    "guided in [0.2, 0.8]": {"guidance_interval": [0.2, 0.8]},
    "reuse_features 2": {"reuse_features": 2},
    "reuse_features 3": {"reuse_features": 3},
    "joint": {"joint": True},
    "joint, guided in [0, 0.5]": {"joint": True, "guidance_interval": [0.0, 0.5]},
    "fast": {"profile": "fast"},
}


class Counter:
    """Counts the rows of every UNet evaluation, whole or of the outermost layers alone."""

    def __init__(self, backend: TorchBackend) -> None:
        self.rows = self.whole = 0
        for checkpoint in (backend.text_to_image, backend.inpainting):
            for unet in {one.unet for one in (checkpoint, checkpoint.few_step) if one is not None}:
                unet.conv_in.register_forward_pre_hook(lambda _, inputs: self._count(len(inputs[0])))
                unet.mid_block.register_forward_pre_hook(lambda _, inputs: self._count_whole(len(inputs[0])))

    def _count(self, rows: int) -> None:
        self.rows += rows

    def _count_whole(self, rows: int) -> None:
        self.whole += rows


@dataclass(slots=True, kw_only=True)
class Result:
    """The results of one way for every subject."""

    seconds: list[float] = field(default_factory=list[float])
    rows: int = 0
    whole: int = 0
    adverts: list[Advert] = field(default_factory=list[Advert])
    subjects: list[Subject] = field(default_factory=list[Subject])


def main(
    *,
    bundle: Annotated[str, typer.Option(help="`demo` or a folder.")] = "demo",
    sheet: Annotated[Path | None, typer.Option(help="Save every picture, a row for each subject.")] = None,
    subjects: Annotated[int, typer.Option(min=1, max=len(SUBJECTS), help="Photos, each in a scene of its own.")] = 6,
    seeds: Annotated[int, typer.Option(help="Pictures of each subject.")] = 1,
    way: Annotated[list[str] | None, typer.Option(help="NAME=FIELDS as JSON, instead of the usual ones.")] = None,
) -> None:
    """Paint every subject in every way."""
    settings.let_waiting_threads_sleep()
    opened = bundles.open_bundle(bundles.find(bundle, Path()))
    backend = TorchBackend(opened, choose("auto", "auto"), prompt_cache_bytes=10_000_000)
    ways = {name: json.loads(fields) for name, _, fields in (one.partition("=") for one in way)} if way else WAYS
    results = paint_all(
        backend, opened.defaults, ways, [(one, seed) for seed in range(seeds) for one in SUBJECTS[:subjects]]
    )
    print_table(results, backend, opened.defaults)
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        tiles = [(name, result.adverts[index].picture) for index in range(subjects) for name, result in results.items()]
        Image.fromarray(contact_sheet(tiles, tile_height=256, columns=len(results))).save(sheet)


def paint_all(
    backend: TorchBackend,
    defaults: BundleDefaults,
    ways: dict[str, dict[str, Any]],
    pictures: Sequence[tuple[Subject, int]],
) -> dict[str, Result]:
    """Every picture (a subject and a seed) in every way, the ways taking turns."""
    counter = Counter(backend)
    engine = Engine(backend, queue=1, max_batch=1, mask_cache_bytes=100_000_000)
    results = {name: Result() for name in ways}
    for subject, seed in pictures:
        warm_up = request(subject, seed, {"task": "mask"}, defaults)
        engine.submit(warm_up, deadline_s=float("inf")).answer.result()
        for fields, result in zip(ways.values(), results.values(), strict=True):
            advert_request = request(subject, seed, fields, defaults)
            counter.rows = counter.whole = 0
            begun = time.perf_counter()
            answer = engine.submit(advert_request, deadline_s=float("inf")).answer.result()
            result.seconds.append(time.perf_counter() - begun)
            result.rows, result.whole = counter.rows, counter.whole
            result.adverts.append(answer.adverts[0])
            result.subjects.append(subject)
    engine.drain()
    return results


def request(subject: Subject, seed: int, fields: dict[str, Any], defaults: BundleDefaults) -> AdvertRequest:
    """One advert of a demo photo."""
    photo, backdrop, surface = subject
    pixels, _ = decode_photo((PHOTOS / f"{photo}.jpg").read_bytes(), max_pixels=64_000_000)
    words = {
        "background_prompt": BACKDROP_PROMPTS[backdrop],
        "foreground_prompt": SURFACE_PROMPTS[surface],
    }
    wire = validate({"seed": seed, **words, **fields}, has_image=True)
    return resolve(wire, pixels, None, defaults, draw_seed=lambda: seed)


def print_table(results: dict[str, Result], backend: TorchBackend, defaults: BundleDefaults) -> None:
    """One line for each way; time and difference are held against the way called `quality`."""
    usual = results.get("quality") or next(iter(results.values()))
    count = len(usual.adverts)
    print(f"{backend.card.device}, {torch.get_num_threads()} threads, bundle {backend.card.bundle}, ", end="")
    print(f"{defaults.size.width} x {defaults.size.height}, {count} pictures each\n")
    print("| way | evaluations | of them whole | time, quality = 1 | difference | right names | seam | growth |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, result in results.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(result.seconds, usual.seconds, strict=True))
        apart = [difference(mine, theirs) for mine, theirs in zip(result.adverts, usual.adverts, strict=True)]
        receipts = [one.receipt for one in result.adverts if one.receipt is not None]
        growth = [one.expansion for one in receipts if one.expansion is not None]
        print(
            f"| {name} | {result.rows} | {result.whole} | {ratio:.2f} | {np.mean(apart):.1f} "
            f"| {right_names(result):.0%} | {np.mean([one.seam for one in receipts]):.2f} "
            f"| {f'{np.mean(growth):.3f}' if growth else 'not measured'} |"
        )


def difference(one: Advert, other: Advert) -> float:
    """Mean difference of two pictures beside the product, grey levels."""
    assert one.placed is not None
    scene = mask_on_canvas(one.placed) == 0
    return float(np.abs(one.picture.astype(int) - other.picture)[scene].mean())


def right_names(result: Result) -> float:
    """Share of the judges' names, for what is behind and what is below, that match the prompts."""
    backdrops, surfaces = (Judge.load(JUDGES / f"{name}.safetensors") for name in ("backdrops", "surfaces"))
    above = backdrops.name([_above(one) for one in result.adverts])
    below = surfaces.name([_below(one) for one in result.adverts])
    right = [
        (backdrop == subject[1], surface == subject[2])
        for backdrop, surface, subject in zip(above, below, result.subjects, strict=True)
    ]
    return float(np.mean(right))


def _above(advert: Advert) -> Pixels:
    return Pixels(advert.picture[: max(_split_row(advert), advert.picture.shape[0] // 4)])


def _below(advert: Advert) -> Pixels:
    return Pixels(lower_part(advert.picture, _split_row(advert)))


def _split_row(advert: Advert) -> int:
    assert advert.split is not None
    return round(advert.split * advert.picture.shape[0])


if __name__ == "__main__":
    typer.run(main)
