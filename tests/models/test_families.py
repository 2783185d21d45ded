"""Stable Diffusion 1, 2 and XL: pictures equal those of diffusers' own pipelines on the same weights and seeds.

The inpainting call has an empty negative prompt, which is a case of its own in SDXL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from inpaint_server.domain.calls import DiffusionCall, Generate
from inpaint_server.domain.request import Scheduler
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.device import choose
from inpaint_server.models.schedulers import make_scheduler
from testing.families import FAMILIES, Family, save_bundle
from testing.passes import SCHEDULERS, SIZE, difference, generate, inpaint, run_passes, sampling


@pytest.fixture(autouse=True)
def mode_of_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' pipelines draw the canvas's latents from the autoencoder's posterior; this project takes its mode."""

    def mode(posterior: Any, generator: object = None) -> torch.Tensor:  # noqa: ARG001 - as the method has it
        return posterior.mode()

    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", mode)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, TorchBackend]:
    folder = tmp_path_factory.mktemp("families")
    return {family: loaded(folder / family, family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, TorchBackend]:
    """Bundles whose only checkpoint was not trained for inpainting."""
    folder = tmp_path_factory.mktemp("alone")
    return {family: loaded(folder / family, family, None) for family in FAMILIES}


def loaded(folder: Path, text_to_image: Family, inpainting: Family | None) -> TorchBackend:
    return TorchBackend(bundles.open_bundle(save_bundle(folder, text_to_image, inpainting)), choose("cpu", "float32"))


def pipeline(checkpoint: Checkpoint, kinds: tuple[Any, Any], scheduler: Scheduler) -> Any:
    """diffusers' own pipeline for a checkpoint's models: of the first kind for Stable Diffusion 1 and 2."""
    (first, *others) = checkpoint.prompts.encoders
    common = {
        "vae": checkpoint.vae,
        "text_encoder": first.model,
        "tokenizer": first.tokenizer,
        "unet": checkpoint.unet,
        "scheduler": make_scheduler(scheduler, checkpoint.noise_schedule),
    }
    if others:
        second = {"text_encoder_2": others[0].model, "tokenizer_2": others[0].tokenizer}
        made = kinds[1](**common, **second, add_watermarker=False)
    else:
        made = kinds[0](**common, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def diffusers_picture(backend: TorchBackend, call: DiffusionCall) -> Image.Image:
    """What diffusers makes of a call."""
    common = {
        "height": SIZE.height,
        "width": SIZE.width,
        "num_inference_steps": call.sampling.steps,
        "guidance_scale": call.sampling.guidance_scale,
        "negative_prompt": call.negative_prompt or None,
        "generator": torch.Generator().manual_seed(call.noise_seed),
    }
    scheduler = call.sampling.scheduler
    if isinstance(call, Generate):
        kinds: tuple[Any, Any] = (StableDiffusionPipeline, StableDiffusionXLPipeline)
        return pipeline(backend.text_to_image, kinds, scheduler)(call.prompt, **common).images[0]
    kinds = (StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline)
    pictures = {"image": Image.fromarray(call.canvas), "mask_image": Image.fromarray(call.mask)}
    inpainted = pipeline(backend.inpainting, kinds, scheduler)(call.prompt, strength=1.0, **pictures, **common)
    return inpainted.images[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_equal_diffusers_pipelines(backends: dict[Family, TorchBackend], family: Family, scheduler: Scheduler):
    """Within 1/255: the last bit before rounding depends on the order of two additions."""
    calls: Sequence[DiffusionCall] = (generate(how=sampling(scheduler)), inpaint(how=sampling(scheduler)))
    for call, picture in zip(calls, run_passes(backends[family], *calls), strict=True):
        assert difference(picture, diffusers_picture(backends[family], call)) <= 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_not_trained_for_it_inpaints_as_diffusers_lets_it(
    alone: dict[Family, TorchBackend], family: Family, scheduler: Scheduler
):
    """Within 1/255: the last bit before rounding depends on the order of two additions."""
    call = inpaint(how=sampling(scheduler))
    assert difference(run_passes(alone[family], call)[0], diffusers_picture(alone[family], call)) <= 1


def test_checkpoint_that_does_both_is_in_memory_once(alone: dict[Family, TorchBackend]):
    backend = alone["xl"]
    assert weights_of(backend.text_to_image) == weights_of(backend.inpainting)
    assert len(weights_of(backend.text_to_image)) > 100


def weights_of(checkpoint: Checkpoint) -> set[int]:
    """Where the weights lie."""
    encoders = [encoder.model for encoder in checkpoint.prompts.encoders]
    return {
        weight.data_ptr() for model in (checkpoint.unet, checkpoint.vae, *encoders) for weight in model.parameters()
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpoints", ["backends", "alone"])
def test_picture_does_not_depend_on_its_batch(request: pytest.FixtureRequest, checkpoints: str, family: Family):
    """Within 1/255, since kernels round by batch size."""
    backend: TorchBackend = request.getfixturevalue(checkpoints)[family]
    for make in (generate, inpaint):
        calls = [make(2, sampling("euler")), replace(make(3), prompt="snow, " * 40), make(4, sampling("unipc"))]
        for call, picture in zip(calls, run_passes(backend, *calls), strict=True):
            assert difference(run_passes(backend, call)[0], picture) <= 1


def test_checkpoints_of_two_families_in_one_bundle(backends: dict[Family, TorchBackend], tmp_path: Path):
    """The background is handed on as a picture, so the second family need not know the first one's latents."""
    mixed = loaded(tmp_path / "mixed", "xl", "1")
    pictures = run_passes(mixed, generate(), inpaint())
    assert difference(pictures[0], run_passes(backends["xl"], generate())[0]) <= 1
    assert difference(pictures[1], run_passes(backends["1"], inpaint())[0]) <= 1
