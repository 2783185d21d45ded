"""How busy the device is, over two steps and over an advert; its kernels and synchronisations in a step."""

from __future__ import annotations

import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import jobs
from benchmarks.gpu.clock import synchronize
from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from benchmarks.process import answers_to
from inpaint_server.domain.calls import Generate
from inpaint_server.domain.request import BundleDefaults, Sampling
from inpaint_server.server.loading import assemble, load_backend, warm_up
from inpaint_server.settings import read

_STEPS = 2
"""That are profiled: the events of a whole advert cost more than the advert."""
_FIRST = 3
"""Steps before them; the first ones set up more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What a profile shows of the device.

    Attributes:
        kernels: Kernels and copies.
        seconds: During which at least one of them ran.
    """

    kernels: int
    seconds: float


def measure(target: Target, record: Record) -> None:
    """One pass and several, then a whole advert; as the server runs them, with CUDA graphs where it has them."""
    settings = read(bundle=target.bundle, device=target.device)
    backend, defaults = load_backend(settings)
    watch = _Watch(record, on_cuda=target.device == "cuda")
    if target.device == "cuda":
        torch.cuda.empty_cache()  # what is still reserved is in use, or the graphs' pool
        pool_bytes = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        record.figure("device memory that the CUDA graphs' pool takes", pool_bytes / 1e9, "GB")
    for passes in (1, 2) if target.small else (1, 8):
        with record.attempt(f"steps of {passes} passes"):
            states = backend.begin([_call(defaults)] * passes)
            watch.steps(partial(backend.advance, states), passes)
    loaded = assemble(settings, backend, defaults, backend.card)  # whose thread alone calls the models from here on
    warm_up(loaded.engine, defaults, settings.start_timeout_s)
    with record.attempt("an advert"):
        advert = partial(answers_to, loaded, jobs.fields(**target.effort))
        advert()
        watch.busy("one advert", advert)
    loaded.engine.drain()


def _call(defaults: BundleDefaults) -> Generate:
    return Generate(
        prompt="a wooden table",
        negative_prompt="",
        size=defaults.size,
        sampling=Sampling(steps=20, guidance_scale=defaults.guidance_scale, scheduler="dpmpp_2m_karras"),
        noise_seed=1,
    )


class _Watch:
    """Watches the device while it works; on the CPU, whose operators take the place of kernels, to be tried."""

    def __init__(self, record: Record, *, on_cuda: bool) -> None:
        self._record = record
        self._on_cuda = on_cuda
        self._unit = "kernels" if on_cuda else "operators"

    def steps(self, advance: Callable[[], object], passes: int) -> None:
        """Middle steps of so many passes: without a profile, with one, and with torch's warnings of each wait."""

        def several() -> None:
            for _ in range(_STEPS):
                advance()

        for _ in range(_FIRST):
            advance()
        name = f"{passes} pass{'es' if passes > 1 else ''}"
        busy = self.busy(f"two steps of {name}", several)
        self._record.figure(f"{self._unit} in a step of {name}", busy.kernels / _STEPS, self._unit)
        if self._on_cuda:
            with _synchronisations() as places:
                several()
            found = ", ".join(f"{place} {count / _STEPS:g} x" for place, count in places.most_common(6))
            self._record.figure(f"synchronisations in a step of {name}", places.total() / _STEPS, "times", found)

    def busy(self, name: str, work: Callable[[], object]) -> Busy:
        """The share of the time of some work during which the device works."""
        synchronize()
        begun = time.perf_counter()
        work()
        synchronize()
        plain = time.perf_counter() - begun
        busy = self._profiled(work)
        detail = f"{busy.seconds:.3f} s with a profile, {plain:.3f} s without; {busy.kernels} {self._unit}"
        self._record.figure(f"device busy during {name}", 100 * busy.seconds / plain, "%", detail)
        return busy

    def _profiled(self, work: Callable[[], object]) -> Busy:
        """What the device does for some work. The profiler's raw events are read: its table takes longer than work."""
        activity = ProfilerActivity.CUDA if self._on_cuda else ProfilerActivity.CPU
        every_thread: Any = _ExperimentalConfig(profile_all_threads=not self._on_cuda)  # the engine's too
        with profile(activities=[activity], acc_events=True, experimental_config=every_thread) as record:
            work()
            synchronize()
        results: Any = record.profiler
        wanted = DeviceType.CUDA if self._on_cuda else DeviceType.CPU
        spans = sorted(
            (event.start_ns(), event.start_ns() + event.duration_ns())
            for event in results.kineto_results.events()
            if event.device_type() == wanted and event.duration_ns() > 0
        )
        return Busy(kernels=len(spans), seconds=_covered(spans) / 1e9)


def _covered(spans: list[tuple[int, int]]) -> int:
    """The length of the union of spans that are in order of their beginning."""
    covered = end = 0
    for first, last in spans:
        covered += max(0, last - max(first, end))
        end = max(end, last)
    return covered


@contextmanager
def _synchronisations() -> Iterator[Counter[str]]:
    """Where in this package the host waits for the device, by torch's own warning of each wait."""
    places: Counter[str] = Counter()

    def note(*_: object, **__: object) -> None:
        stack = [frame for frame in traceback.extract_stack() if "inpaint_server" in frame.filename]
        places[f"{Path(stack[-1].filename).name}:{stack[-1].lineno}" if stack else "elsewhere"] += 1

    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            yield places
    finally:
        torch.cuda.set_sync_debug_mode("default")
