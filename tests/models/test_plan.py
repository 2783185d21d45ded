"""The planner against what was measured: operations and peak memory of real forwards on the CPU, published figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import planner
from inpaint_server.cli import app
from inpaint_server.domain.geometry import Size
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.cost import measure
from inpaint_server.models.plan import ACCELERATORS, largest_batch, make_plan, of_bundle, of_stable_diffusion_15

A10G = ACCELERATORS["a10g"]
SMALL = Size(height=256, width=256)
STAGES = 6


@pytest.fixture(scope="module")
def forwards(painter: TorchBackend) -> dict[str, tuple[Any, Callable[[], object]]]:
    """Real forwards of the demo's UNet and decoder, with guidance, at 256 x 256."""
    model: Any = painter.text_to_image
    samples, words = torch.zeros(2, 4, 32, 32), model.text_encoder(torch.ones(2, 24, dtype=torch.long))[0]
    return {
        "unet": (model.unet, lambda: model.unet(samples, torch.zeros(2), encoder_hidden_states=words)),
        "decode": (model.vae, lambda: model.vae.decode(samples[:1])),
    }


def test_the_plan_of_an_advert_is_within_a_tenth_of_what_its_own_model_calls_take():
    """Operations, weights and every stage's peak, of one request that the engine answers here."""
    compared = planner.compare("demo")
    assert [figure.name for figure in compared if not figure.holds] == []
    assert len(compared) == len(("operations", "weights")) + STAGES
    assert {figure.at_most for figure in compared} == {10.0}


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
