"""One request in one process: beside its bare model calls, the obvious way, other profiles, and a second request."""

from __future__ import annotations

import statistics

from PIL import Image

from benchmarks import jobs
from benchmarks.bare import evaluations, recorded, replay
from benchmarks.figures import Figure, Part
from benchmarks.obvious import THE_SAMPLES_OWN, Obvious, karras
from benchmarks.process import NO_CACHES, answers_to, engine_here
from benchmarks.timing import medians, ratio, take_turns
from inpaint_server.models.bundle import find, open_bundle
from inpaint_server.server.loading import Loaded
from inpaint_server.settings import read


def measure(runs: int, bundle: str) -> Part:
    """Every comparison that needs no server."""
    opened = open_bundle(find(bundle, read().model_dir))
    obvious = Obvious(opened.folder, opened.manifest.native_size)
    loaded = engine_here(bundle, **NO_CACHES)
    photo = Image.open(jobs.PHOTOS[0])
    quality = [karras(25, opened.manifest.guidance_scale)] * 3
    calls = {
        profile: recorded(lambda profile=profile: answers_to(loaded, jobs.fields(profile=profile)))
        for profile in ("quality", "fast", "seed")
    }
    seconds = take_turns(
        runs,
        {
            "bare model calls": lambda: replay(calls["quality"]),
            "ours, quality": lambda: answers_to(loaded, jobs.fields(profile="quality")),
            "obvious, same steps": lambda: obvious.advert(photo, jobs.SCENES[0], 1, quality),
            "ours, fast": lambda: answers_to(loaded, jobs.fields(profile="fast")),
            "ours, seed's steps": lambda: answers_to(loaded, jobs.fields(profile="seed")),
            "obvious, seed's steps": lambda: obvious.advert(photo, jobs.SCENES[0], 1, THE_SAMPLES_OWN),
        },
    )
    loaded.engine.drain()
    counted = {profile: evaluations(recording) for profile, recording in calls.items()}
    return Part(
        figures=[*_ratios(seconds), *_evaluations(counted), *_second_request(bundle, runs)],
        series={"seconds of one advert": {name: statistics.median(values) for name, values in seconds.items()}},
    )


def _ratios(seconds: dict[str, list[float]]) -> list[Figure]:
    compared = (
        ("one request over the sum of its bare model calls", "ours, quality", "bare model calls", {"at_most": 1.03}),
        (
            "one request over the obvious way with as many steps",
            "ours, quality",
            "obvious, same steps",
            {"at_most": 1.0},
        ),
        ("profile `seed` over profile `quality`, time", "ours, seed's steps", "ours, quality", {"at_least": 3.0}),
        ("the obvious way with the sample's steps over `quality`", "obvious, seed's steps", "ours, quality", {}),
    )
    return [
        Figure(name=name, value=ratio(seconds, first, second), detail=medians(seconds, first, second), **wanted)
        for name, first, second, wanted in compared
    ]


def _evaluations(counted: dict[str, int]) -> list[Figure]:
    """How many rows the UNets see for one advert; a row with and one without the words are two."""
    wanted = {"quality": 3.3, "fast": 15.0}
    return [
        Figure(
            name=f"profile `seed` over profile `{profile}`, UNet evaluations",
            value=counted["seed"] / counted[profile],
            at_least=least,
            detail=f"{counted['seed']} / {counted[profile]}",
        )
        for profile, least in wanted.items()
    ]


def _second_request(bundle: str, runs: int) -> list[Figure]:
    """The same photo again, in another scene: what is left of the time on its mask."""
    shares: list[float] = []
    compared_ms = ""
    for _ in range(runs):
        loaded = engine_here(bundle)
        first, second = (_mask_ms(loaded, scene) for scene in range(2))
        loaded.engine.drain()
        shares.append(second / first)
        compared_ms = f"{second:.2f} ms / {first:.2f} ms"
    return [
        Figure(
            name="time on the mask, second request with a photo over the first",
            value=100 * statistics.median(shares),
            unit="%",
            at_most=5.0,
            detail=compared_ms,
        )
    ]


def _mask_ms(loaded: Loaded, scene: int) -> float:
    background, foreground = jobs.SCENES[scene]
    same_photo = {**jobs.fields(steps=1), "image": jobs.picture(jobs.PHOTOS[0])}
    (answer,) = answers_to(loaded, {**same_photo, "background_prompt": background, "foreground_prompt": foreground})
    return answer.timings.segment
