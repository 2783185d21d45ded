"""Memory beside the plan; adverts of each profile beside their bare model calls and diffusers' own pipelines."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from benchmarks import jobs
from benchmarks.bare import Call, evaluations, recorded, replay
from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from benchmarks.obvious import Obvious, karras
from benchmarks.planner import compare_memory
from benchmarks.process import NO_CACHES, answers_to, engine_here
from benchmarks.servers import memory_of
from benchmarks.timing import ratio, take_turns
from inpaint_server.models.architectures import of_bundle
from inpaint_server.models.bundle import Bundle, find, open_bundle
from inpaint_server.models.device import choose
from inpaint_server.models.plan import make_plan
from inpaint_server.server.loading import Loaded

OURS: Final = "ours"
_STEPS: Final = 25
"""Of a pass of the profile `quality`."""


def measure(target: Target, record: Record) -> None:
    """The most wanted figures first: memory, `quality`, `fast`, and last the one that takes longest.

    Calls that are replayed as CUDA graphs cannot be recorded; a second engine makes them one by one.
    """
    opened = open_bundle(find(target.bundle, Path()))
    eager = _loaded(target, record, "off")
    calls = {profile: recorded(_advert(target, eager, profile)) for profile in ("quality", "fast")}
    with record.attempt("memory"):
        _memory(target, record, opened, calls["quality"])
    ours = _loaded(target, record, "auto") if target.device == "cuda" else eager
    for profile, recording in calls.items():
        with record.attempt(f"profile `{profile}`"):
            ways = {OURS: _advert(target, ours, profile), "bare model calls": partial(replay, recording)}
            if ours is not eager:
                ways["ours without CUDA graphs"] = _advert(target, eager, profile)
            if profile == "quality":
                ways["diffusers, same steps"] = _straightforward(target, opened)
            _compare(target, record, profile, ways, recording)
    with record.attempt("profile `reference`"):
        begun = time.perf_counter()
        _advert(target, ours, "reference")()
        record.figure("`reference`, ours", time.perf_counter() - begun, "s", "once")
    for engine in {eager.engine, ours.engine}:
        engine.drain()


def _loaded(target: Target, record: Record, cuda_graphs: str) -> Loaded:
    """An engine without caches."""
    begun = time.perf_counter()
    loaded = engine_here(target.bundle, device=target.device, cuda_graphs=cuda_graphs, **NO_CACHES)
    name = f"loading and warming up, libraries imported, CUDA graphs {cuda_graphs}"
    card = loaded.card
    record.figure(name, time.perf_counter() - begun, "s", f"{card.device}, {card.dtype}, attention by {card.attention}")
    return loaded


def _memory(target: Target, record: Record, opened: Bundle, calls: list[Call]) -> None:
    """What the models hold after an advert, and each stage's peak beside the plan's."""
    if target.device == "cuda":
        record.figure("device memory that tensors hold after an advert", torch.cuda.memory_allocated() / 1e9, "GB")
        record.figure("device memory reserved after an advert", torch.cuda.memory_reserved() / 1e9, "GB")
    host = memory_of(os.getpid())
    record.figure("host memory, resident", host["VmRSS"] / 1e9, "GB", f"at most {host['VmHWM'] / 1e9:.2f} GB")
    dtype = choose(target.device, "auto").dtype
    plan = make_plan(of_bundle(opened), size=opened.defaults.size, batch=1, steps=_STEPS, dtype=dtype)
    record.figures(compare_memory(plan, calls))


def _compare(
    target: Target, record: Record, profile: str, ways: dict[str, Callable[[], object]], calls: list[Call]
) -> None:
    """One advert in several ways that take turns: seconds, and ours over each of the others."""
    seconds = take_turns(1 if target.small else 2, ways)
    counted = ", ".join(f"{number} x {kind}" for kind, number in Counter(call.kind for call in calls).items())
    for name, took in seconds.items():
        detail = f"{counted}; {evaluations(calls)} rows of UNets" if name == OURS else ""
        record.figure(f"`{profile}`, {name}", statistics.median(took), "s", detail)
    for name in seconds.keys() - {OURS}:
        record.figure(f"`{profile}`, ours over {name}", ratio(seconds, OURS, name), "x")


def _advert(target: Target, loaded: Loaded, profile: str) -> Callable[[], object]:
    return lambda: answers_to(loaded, jobs.fields(profile=profile, **target.effort))


def _straightforward(target: Target, opened: Bundle) -> Callable[[], object]:
    """The same advert by Segment Anything's predictor and diffusers' pipelines."""
    obvious = Obvious(
        opened.folder, opened.manifest.native_size, device=target.device, dtype=choose(target.device, "auto").dtype
    )
    steps: Any = target.effort.get("steps", _STEPS)
    efforts = [karras(steps, opened.manifest.guidance_scale)] * 3
    photo = Image.open(jobs.PHOTOS[0])
    return lambda: obvious.advert(photo, jobs.SCENES[0], 1, efforts)
