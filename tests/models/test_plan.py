"""The planner against measured forward passes on the CPU, and against published figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import planner
from inpaint_server.cli import app
from inpaint_server.domain.geometry import Size
from inpaint_server.errors import InvalidRequest
from inpaint_server.models import bundle as bundles
from inpaint_server.models.architectures import of_bundle, of_stable_diffusion_15, of_stable_diffusion_xl
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.cost import measure, with_peak_bytes
from inpaint_server.models.device import choose
from inpaint_server.models.feature_reuse import evaluate_and_cache, evaluate_shallow
from inpaint_server.models.graphs import ROWS, CapturedCalls
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.plan import ACCELERATORS, make_plan
from testing.families import Family, save_bundle
from testing.recorded_calls import RecordedCalls

A10G = ACCELERATORS["a10g"]
SMALL = Size(height=256, width=256)
STAGES = 6


@pytest.fixture(scope="module")
def forwards(backend: TorchBackend) -> dict[str, tuple[Any, Callable[[], object]]]:
    """Forward passes of the demo's UNet and decoder, with guidance, at 256 x 256."""
    model: Any = backend.text_to_image
    samples, prompt_embeds = (
        torch.zeros(2, 4, 32, 32),
        model.prompts.encoders[0].model(torch.ones(2, 24, dtype=torch.long))[0],
    )
    return {
        "unet": (model.unet, lambda: model.unet(samples, torch.zeros(2), encoder_hidden_states=prompt_embeds)),
        "decode": (model.vae, lambda: model.vae.decode(samples[:1])),
    }


def test_plan_is_within_ten_percent_of_measurement():
    """Operations, weights and every stage's peak memory, of one request."""
    compared = planner.compare("demo")
    assert [figure.name for figure in compared if not figure.holds] == []
    assert len(compared) == len(("operations", "weights")) + STAGES
    assert {figure.at_most for figure in compared} == {10.0}


def test_plan_equals_measured_forward_passes(forwards: dict[str, Any]):
    """The meta device against the CPU."""
    plan = make_plan(of_bundle(bundles.open_bundle(bundles.DEMO)), size=SMALL, batch=1, steps=1, dtype=torch.float32)
    stages = {stage.name: stage.cost for stage in plan.stages}
    unet, decode = (measure(*forwards[name]) for name in ("unet", "decode"))
    assert stages["generate backgrounds"].operations == pytest.approx(unet.operations, rel=0.01)
    assert stages["generate backgrounds"].activation_bytes == pytest.approx(unet.activation_bytes, rel=0.1)
    assert stages["decode canvases"].operations == decode.operations


@torch.inference_mode()
def test_plan_counts_cuda_graphs(backend: TorchBackend):
    """Buffers as they are allocated; the pool against the peak of the largest call's own tensors."""
    calls, peaks = CapturedCalls(MemoryEstimator(choose("cpu", "float32")), RecordedCalls()), list[int]()
    for checkpoint in (backend.text_to_image, backend.inpainting):
        unet: Any = checkpoint.unet
        side = unet.config["sample_size"]
        samples, timesteps = torch.zeros(1, unet.config["in_channels"], side, side), torch.zeros(1)
        prompt_embeds = checkpoint.prompts.embed("", 1).prompt_embeds
        row: tuple[torch.Tensor, ...] = (samples, timesteps, prompt_embeds)
        full, shallow = partial(evaluate_and_cache, unet), partial(evaluate_shallow, unet)
        calls.capture_rows(f"full {id(unet)}", full, *row, max_rows=1)
        calls.capture_rows(f"shallow {id(unet)}", shallow, samples, timesteps, full(*row)[1], prompt_embeds, max_rows=1)
        peaks.append(
            with_peak_bytes(
                lambda full=full, row=row: full(*(one.repeat(ROWS[-1], *[1] * (one.dim() - 1)) for one in row))
            )[1]
        )
    plan = make_plan(of_bundle(bundles.open_bundle(bundles.DEMO)), size=SMALL, batch=1, steps=1, dtype=torch.float32)
    assert plan.graph_bytes - calls.buffer_bytes == pytest.approx(max(peaks), rel=0.1)
    assert plan.peak_bytes > plan.weight_bytes + plan.graph_bytes


def test_plan_of_stable_diffusion_equals_published_figures():
    """TFLOP of one forward at 512 x 512, and parameters in half precision."""
    plan = make_plan(of_stable_diffusion_15("vit_b"), size=Size(height=512, width=512), batch=1, steps=25)
    tflop = {stage.name: stage.cost.operations / 1e12 for stage in plan.stages}
    assert tflop["generate backgrounds"] == pytest.approx(1.607, rel=0.01)
    assert tflop["decode canvases"] == pytest.approx(2.515, rel=0.01)
    assert tflop["segment"] == pytest.approx(0.972, rel=0.01)
    weights = {stage.name: stage.cost.weight_bytes for stage in plan.stages}
    assert weights["generate backgrounds"] == pytest.approx(2 * 859.5e6, rel=0.001)


def test_stable_diffusion_fits_on_24_gb():
    models = of_stable_diffusion_15("vit_h")
    size = Size(height=512, width=512)
    assert make_plan(models, size=size, batch=3, steps=25).fits(A10G)
    assert not make_plan(models, size=Size(height=2048, width=2048), batch=64, steps=25).fits(A10G)


def test_plan_of_stable_diffusion_xl_equals_published_figures():
    """Parameters of the UNet (2.57e9), of both text encoders (123e6 and 695e6), and of the autoencoder, in float32."""
    plan = make_plan(of_stable_diffusion_xl("vit_h"), size=Size(height=1024, width=1024), batch=1, steps=25)
    weights = {stage.name: stage.cost.weight_bytes for stage in plan.stages}
    assert weights["generate backgrounds"] == pytest.approx(2 * 2567.5e6, rel=0.001)
    assert weights["encode prompts"] == pytest.approx(2 * (123.1e6 + 694.7e6), rel=0.005)
    assert weights["decode canvases"] == pytest.approx(4 * 83.7e6, rel=0.005)


@pytest.mark.parametrize("families", [("xl", "xl"), ("2", None), ("1", "xl")])
def test_planned_weights_are_those_that_are_loaded(tmp_path: Path, families: tuple[Family, Family | None]):
    opened = bundles.open_bundle(save_bundle(tmp_path / "bundle", *families))
    plan = make_plan(of_bundle(opened), size=Size(height=64, width=64), batch=1, steps=1, dtype=torch.float32)
    loaded = TorchBackend(opened, choose("cpu", "float32"))
    weights = {
        weight.data_ptr(): weight.nbytes
        for one in (loaded.text_to_image, loaded.inpainting)
        for model in (one.unet, one.vae, *(encoder.model for encoder in one.prompts.encoders))
        for weight in (*model.parameters(), *model.buffers())
    }
    segmenter = next(stage.cost.weight_bytes for stage in plan.stages if stage.name == "segment")
    # Segment Anything's decoder and prompt encoder are in the plan, too, and are not counted here.
    assert 0 <= plan.weight_bytes - segmenter - sum(weights.values()) < 2e6


def test_plan_of_two_families_says_what_to_save(tmp_path: Path):
    folder = save_bundle(tmp_path / "bundle", "1", "2")
    options = ["plan", "--bundle", str(folder), "--size", "4096", "--batch", "64"]
    output = CliRunner().invoke(app, options, catch_exceptions=False).output
    assert "does not fit" in output
    assert "leave stable-diffusion-inpainting/ out" in output
    assert "INPAINT_CUDA_GRAPHS=off" in output


def test_plan_of_unknown_segmenter_names_those_there_are():
    result = CliRunner().invoke(app, ["plan", "--sam", "vit_x"])
    assert isinstance(result.exception, InvalidRequest)
    assert "vit_b, vit_l, vit_h" in result.exception.message


def test_plan_command_prints_every_stage():
    output = CliRunner().invoke(app, ["plan", "--bundle", "demo", "--batch", "2"], catch_exceptions=False).output
    for stage in ("segment", "generate backgrounds", "inpaint", "decode canvases", "fits"):
        assert stage in output
