"""`inpaint-server plan` against what a request takes on this machine's CPU, and what it says of the real models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import jobs
from benchmarks.bare import Call, recorded
from benchmarks.figures import Figure, Part
from benchmarks.process import NO_CACHES, answers_to, engine_here
from inpaint_server.models.architectures import of_bundle
from inpaint_server.models.bundle import find, open_bundle
from inpaint_server.models.plan import Plan, make_plan
from inpaint_server.settings import read

LATENT_CHANNELS = 4
_STAGES = {
    "segmenter": "segment",
    "text encoder": "encode prompts",
    "vae encoder": "encode canvases",
    "vae decoder": "decode canvases",
}
_STEPS = 4
_TOLERANCE_PERCENT = 10.0


def measure(runs: int, bundle: str) -> Part:  # noqa: ARG001 - counts do not vary
    """The comparison, and what the plan says of the published models."""
    command = [str(Path(sys.executable).parent / "inpaint-server"), "plan", "--device", "a10g"]
    published = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return Part(
        figures=compare(bundle),
        remarks=[f"What `inpaint-server plan --device a10g` says of the published models:\n\n```\n{published}```"],
    )


def compare(bundle: str) -> list[Figure]:
    """Operations, peak activations and weights of one advert's own model calls, beside the plan of the same advert."""
    opened = open_bundle(find(bundle, read().model_dir))
    with _one_thread():
        loaded = engine_here(bundle, dtype="float32", **{**NO_CACHES, "prompt_cache_mb": 1})
    calls = recorded(lambda: answers_to(loaded, jobs.fields(steps=_STEPS)))
    loaded.engine.drain()
    plan = make_plan(of_bundle(opened), size=opened.defaults.size, batch=1, steps=_STEPS, dtype=torch.float32)
    planned = sum(stage.calls * stage.cost.operations for stage in plan.stages)
    return [_difference("operations of one advert", planned, operations(calls), "GFLOP"), *compare_memory(plan, calls)]


@contextmanager
def _one_thread() -> Generator[None]:
    """Load models as on one core, where calls are not made in two halves, so that they have as many rows as planned."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compare_memory(plan: Plan, calls: Sequence[Call]) -> list[Figure]:
    """Weights and each stage's peak activations, planned beside those of one advert's own model calls."""
    figures = [_difference("weights", plan.weight_bytes, _weight_bytes(calls), "MB")]
    for stage in plan.stages:
        of_stage = [call for call in calls if _stage_of(call) == stage.name]
        figures.append(
            _difference(f"peak activations, {stage.name}", stage.cost.activation_bytes, peak_bytes(of_stage[-1]), "MB")
        )
    return figures


def operations(calls: Sequence[Call]) -> int:
    """Floating-point operations of all calls, by torch's own counter, which sees plain attention only.

    Of calls of one model with equal shapes the first is made again and counted.
    """
    alike: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        alike.setdefault((id(call.model), call.shapes), []).append(call)
    total = 0
    for same in alike.values():
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            same[0].again()
        total += len(same) * flops.get_total_flops()
    return total


def peak_bytes(call: Call) -> int:
    """The most that lives at a time while a call is made again, by the allocator's own record."""
    if next(call.model.parameters()).is_cuda:
        return _peak_bytes_on_cuda(call)
    with (
        torch.inference_mode(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record,
    ):
        call.again()
    results: Any = record.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@torch.inference_mode()
def _peak_bytes_on_cuda(call: Call) -> int:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call.again()
    return torch.cuda.max_memory_allocated() - before


def _difference(what: str, planned: float, measured: float, unit: str) -> Figure:
    scale = {"GFLOP": 1e9, "MB": 1e6}[unit]
    return Figure(
        name=f"plan off from what is measured, {what}",
        value=100 * abs(planned / measured - 1),
        unit="%",
        at_most=_TOLERANCE_PERCENT,
        detail=f"{planned / scale:,.1f} / {measured / scale:,.1f} {unit}",
    )


def _stage_of(call: Call) -> str:
    """The plan's name for a call."""
    if call.kind == "unet":
        generates = call.arguments[0].shape[1] == LATENT_CHANNELS
        return "generate backgrounds" if generates else "inpaint"
    return _STAGES.get(call.kind, "")


def _weight_bytes(calls: Sequence[Call]) -> int:
    models = {id(call.model): call.model for call in calls}
    tensors = {id(t): t for model in models.values() for t in (*model.parameters(), *model.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())
