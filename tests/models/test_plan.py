"""The planner against what was measured: operations and peak memory of real forwards on the CPU, published figures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from inpaint_server.cli import app
from inpaint_server.models import bundle as bundles
from inpaint_server.models.cost import Cost, measure
from inpaint_server.models.painter import Painter
from inpaint_server.models.plan import ACCELERATORS, largest_batch, make_plan, of_bundle, of_stable_diffusion_15
from inpaint_server.types import Size

A10G = ACCELERATORS["a10g"]
SMALL = Size(height=256, width=256)


def measured(forward: Callable[[], object]) -> tuple[int, int]:
    """Operations, and peak bytes by the allocator's own record, of a real forward."""
    with torch.inference_mode():
        forward()
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            forward()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
            forward()
    results: Any = record.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return flops.get_total_flops(), max(accumulate(sizes))


@pytest.fixture(scope="module")
def forwards(painter: Painter) -> dict[str, tuple[Any, Callable[[], object]]]:
    """Real forwards of the demo's UNet and decoder, with guidance, at 256 x 256."""
    model: Any = painter.text_to_image
    samples, words = torch.zeros(2, 4, 32, 32), model.text_encoder(torch.ones(2, 24, dtype=torch.long))[0]
    return {
        "unet": (model.unet, lambda: model.unet(samples, torch.zeros(2), encoder_hidden_states=words)),
        "decode": (model.vae, lambda: model.vae.decode(samples[:1])),
    }


@pytest.mark.parametrize("name", ["unet", "decode"])
def test_operations_and_memory_are_what_a_real_forward_takes(forwards: dict[str, Any], name: str):
    module, forward = forwards[name]
    planned: Cost = measure(module, forward)
    operations, peak = measured(forward)
    assert planned.operations == pytest.approx(operations, rel=0.01)
    assert planned.activation_bytes == pytest.approx(peak, rel=0.1)


def test_without_data_the_figures_are_the_same(forwards: dict[str, Any]):
    """The meta device, where nothing is computed, against the CPU."""
    plan = make_plan(of_bundle(bundles.open_bundle(bundles.DEMO)), size=SMALL, batch=1, steps=1, dtype=torch.float32)
    stages = {stage.name: stage.cost for stage in plan.stages}
    unet, decode = (measure(*forwards[name]) for name in ("unet", "decode"))
    assert stages["paint backgrounds"].operations == pytest.approx(unet.operations, rel=0.01)
    assert stages["paint backgrounds"].activation_bytes == pytest.approx(unet.activation_bytes, rel=0.1)
    assert stages["decode canvases"].operations == decode.operations


def test_the_real_models_take_what_is_published_of_them():
    """TFLOP of one forward at 512 x 512, and parameters in half precision."""
    plan = make_plan(of_stable_diffusion_15("vit_b"), size=Size(height=512, width=512), batch=1, steps=25)
    tflop = {stage.name: stage.cost.operations / 1e12 for stage in plan.stages}
    assert tflop["paint backgrounds"] == pytest.approx(1.607, rel=0.01)
    assert tflop["decode canvases"] == pytest.approx(2.515, rel=0.01)
    assert tflop["segment"] == pytest.approx(0.972, rel=0.01)
    weights = {stage.name: stage.cost.weight_bytes for stage in plan.stages}
    assert weights["paint backgrounds"] == pytest.approx(2 * 859.5e6, rel=0.001)


def test_the_real_models_fit_on_24_gb_and_so_does_a_batch():
    models = of_stable_diffusion_15("vit_h")
    size = Size(height=512, width=512)
    assert make_plan(models, size=size, batch=1, steps=25).fits(A10G)
    assert largest_batch(lambda batch: make_plan(models, size=size, batch=batch, steps=25), A10G, limit=3) == 3


def test_the_command_prints_every_stage_and_whether_it_fits():
    said = CliRunner().invoke(app, ["plan", "--bundle", "demo", "--batch", "2"], catch_exceptions=False).output
    for stage in ("segment", "paint backgrounds", "inpaint", "decode canvases", "fits"):
        assert stage in said
