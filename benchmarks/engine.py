"""What an advert costs here, beside the obvious way, on the same weights, in one run: a Markdown table.

    python benchmarks/engine.py [--bundle demo] [--runs 5] [--size 256]

Rows are ratios of medians, so they hold on a noisy machine as long as its noise is spread over the whole run: the ways
compared take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
from PIL import Image

from inpaint_server.engine.engine import Engine
from inpaint_server.models import bundle as bundles
from inpaint_server.models.device import choose
from inpaint_server.models.painter import Painter
from inpaint_server.models.schedulers import make_scheduler
from inpaint_server.schema import validate
from inpaint_server.serving.resolve import resolve
from inpaint_server.types import AdvertRequest, Generate, Pixels, ProductMask, Sampling, Scheduler, Size, frozen_array

NEVER_S = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The weights twice: behind the engine, and in diffusers' own pipelines."""

    painter: Painter
    engine: Engine[Any]
    defaults: Any
    text_to_image: Any
    inpainting: Any
    size: int

    def request(self, profile: str, seed: int) -> AdvertRequest:
        """An advert of a grey photo whose mask is given: the mask's cost is not compared here."""
        wire = validate(
            {
                "image": "given",
                "background_prompt": "a brick wall",
                "foreground_prompt": "a wooden table",
                "profile": profile,
                "seed": seed,
                "width": self.size,
                "height": self.size,
            }
        )
        photo = Pixels(frozen_array(np.full((self.size, self.size, 3), 128, np.uint8)))
        mask = np.zeros((self.size, self.size), np.uint8)
        mask[self.size // 4 :, self.size // 3 : -self.size // 3] = 255
        return resolve(wire, photo, ProductMask(frozen_array(mask)), self.defaults, draw_seed=lambda: seed)


def main(
    *,
    bundle: Annotated[str, typer.Option(help="`demo` or a folder.")] = "demo",
    runs: Annotated[int, typer.Option(help="Times each way is run; the median counts.")] = 5,
    size: Annotated[int, typer.Option(help="Side of the canvas, pixels.")] = 256,
) -> None:
    """Run every comparison and print the table."""
    bench = prepare(bundle, size)
    print(
        f"{bench.painter.card.device}, {torch.get_num_threads()} threads, bundle {bench.painter.card.bundle}, ", end=""
    )
    print(f"{size} x {size}, median of {runs}\n")
    print("| compared | first | second | first / second |\n| --- | --- | --- | --- |")
    for name, first, second in comparisons(bench):
        one, other = medians(runs, first, second)
        print(f"| {name} | {one:.2f} s | {other:.2f} s | {one / other:.2f} |", flush=True)
    bench.engine.drain()


def prepare(bundle: str, size: int) -> Bench:
    """Load everything and run each way once."""
    opened = bundles.open_bundle(bundles.find(bundle, Path()))
    painter = Painter(opened, choose("auto", "auto"))
    pipelines: list[Any] = []
    for kind, folder in (
        (StableDiffusionPipeline, bundles.TEXT_TO_IMAGE),
        (StableDiffusionInpaintPipeline, bundles.INPAINTING),
    ):
        device = choose("auto", "auto")
        pipeline: Any = kind.from_pretrained(opened.folder / folder, dtype=device.dtype, local_files_only=True)
        pipeline.to(device.torch_device).set_progress_bar_config(disable=True)
        pipelines.append(pipeline)
    engine = Engine(painter, queue=64, max_batch=8)
    bench = Bench(
        painter=painter,
        engine=engine,
        defaults=opened.defaults,
        text_to_image=pipelines[0],
        inpainting=pipelines[1],
        size=size,
    )
    ours(bench, "fast", [0])
    return bench


def comparisons(bench: Bench) -> Sequence[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Name, first way, second way."""
    defaults = bench.defaults.guidance_scale
    same = [("dpmpp_2m_karras", 25, defaults)] * 3
    seeds_way = [("pndm", 50, 10.0), ("pndm", 100, 8.5), ("pndm", 100, 8.5)]
    return (
        (
            "our `quality` / the bare model calls of its three passes",
            lambda: ours(bench, "quality", [1]),
            lambda: bare(bench),
        ),
        (
            "our `quality` / diffusers' pipelines, same steps",
            lambda: ours(bench, "quality", [1]),
            lambda: obvious(bench, same),
        ),
        (
            "the replaced sample's steps in diffusers' pipelines / our `quality`",
            lambda: obvious(bench, seeds_way),
            lambda: ours(bench, "quality", [1]),
        ),
        (
            "8 adverts one after the other / 8 at once",
            lambda: [ours(bench, "fast", [seed]) for seed in range(8)],
            lambda: ours(bench, "fast", range(8)),
        ),
    )


def medians(runs: int, first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of two ways that take turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for way, spent in zip((first, second), seconds, strict=True):
            begun = time.perf_counter()
            way()
            spent.append(time.perf_counter() - begun)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def ours(bench: Bench, profile: str, seeds: Sequence[int]) -> None:
    """Requests to the engine, all at once."""
    jobs = [bench.engine.submit(bench.request(profile, seed), deadline_s=NEVER_S) for seed in seeds]
    wait([job.answer for job in jobs])
    for job in jobs:
        job.answer.result()


def bare(bench: Bench) -> None:
    """Begin, step and finish of three passes, with nothing around them."""
    request = bench.request("quality", 1)
    canvas = Size(height=bench.size, width=bench.size)
    how: Sampling = request.background_sampling
    painted: list[Pixels] = []
    for ask in (
        Generate(prompt="a brick wall", negative_prompt="", size=canvas, sampling=how, noise_seed=1),
        *(inpaint_of(request, how) for _ in range(2)),
    ):
        (one,) = bench.painter.begin([ask])
        while not one.done:
            bench.painter.advance([one])
        painted += bench.painter.finish([one])


def inpaint_of(request: AdvertRequest, how: Sampling) -> Any:
    """An inpainting pass of the request's photo around its mask."""
    from inpaint_server.types import Inpaint, PaintMask

    assert request.photo is not None
    assert request.mask is not None
    mask = PaintMask(frozen_array(255 - request.mask))
    return Inpaint(canvas=request.photo, mask=mask, prompt="a table", negative_prompt="", sampling=how, noise_seed=2)


def obvious(bench: Bench, passes: Sequence[tuple[Scheduler, int, float]]) -> None:
    """The replaced sample's algorithm written with diffusers' pipelines: a background, then two inpaintings."""
    request = bench.request("quality", 1)
    assert request.photo is not None
    assert request.mask is not None
    photo, mask = Image.fromarray(request.photo), Image.fromarray(255 - request.mask)
    shape = {"height": bench.size, "width": bench.size, "output_type": "np"}
    for number, (scheduler, steps, guidance_scale) in enumerate(passes):
        how = {"num_inference_steps": steps, "guidance_scale": guidance_scale, **shape}
        pipeline = bench.inpainting if number else bench.text_to_image
        pipeline.scheduler = make_scheduler(scheduler, bench.painter.text_to_image.noise_schedule)
        inputs = {"image": photo, "mask_image": mask, "strength": 1.0} if number else {}
        pipeline("a brick wall", generator=torch.Generator().manual_seed(1), **inputs, **how)


if __name__ == "__main__":
    typer.run(main)
