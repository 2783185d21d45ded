"""`inpaint-server bundle make` of Stable Diffusion 2 and XL: every weight is kept, and diffusers loads it, too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from inpaint_server.domain.calls import Generate
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.contents import problems
from inpaint_server.models.conversion import single_file
from inpaint_server.models.device import choose
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.manifest import read_manifest, verify
from testing import checkpoints
from testing.families import NATIVE_SIZE, Family, save_checkpoint
from testing.passes import run_passes
from tests.models.conversion.conftest import Base, Make


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Two checkpoints, and what diffusers calls the pipelines that they become."""

    text_to_image: Family
    inpainting: Family
    inpainting_channels: int = 9
    kinds: tuple[type[DiffusionPipeline], type[DiffusionPipeline]]
    native_size: int = NATIVE_SIZE
    in_one_file: bool = False


SD: Final = (StableDiffusionPipeline, StableDiffusionInpaintPipeline)
XL: Final = (StableDiffusionXLPipeline, StableDiffusionXLInpaintPipeline)
FAMILY_FORMS: Final = {
    "Stable Diffusion 2.x, folder": Form(text_to_image="2-v", inpainting="2", kinds=SD),
    "Stable Diffusion XL, folder": Form(text_to_image="xl", inpainting="xl", kinds=XL),
    "Stable Diffusion XL, single file": Form(
        text_to_image="xl", inpainting="xl", kinds=XL, native_size=1024, in_one_file=True
    ),
    "text to image and inpainting of different families": Form(
        text_to_image="xl", inpainting="1", kinds=(StableDiffusionXLPipeline, StableDiffusionInpaintPipeline)
    ),
    "a checkpoint with 4 channels for inpainting": Form(
        text_to_image="1",
        inpainting="1",
        inpainting_channels=4,
        kinds=(StableDiffusionPipeline, StableDiffusionPipeline),
    ),
}
CALL = Generate(
    prompt="sand",
    negative_prompt="",
    size=Size(height=NATIVE_SIZE, width=NATIVE_SIZE),
    sampling=Sampling(steps=2, guidance_scale=2.0, scheduler="ddim"),
    noise_seed=1,
)


def weight_files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.safetensors")}


def in_one_file(folder: Path) -> Path:
    """A checkpoint of Stable Diffusion XL as it was published.

    Its text encoders know as many words as CLIP's, and its autoencoder is wide enough for the published 32 groups.
    """
    autoencoder: Any = AutoencoderKL
    vae_config = json.loads((folder / "vae" / "config.json").read_text())
    autoencoder.from_config({**vae_config, "block_out_channels": (32,) * 4}).save_pretrained(folder / "vae")
    for name, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
        config: dict[str, Any] = json.loads((folder / name / "config.json").read_text())
        config["vocab_size"] = len(single_file.clip_tokenizer())
        model: Any = kind(CLIPTextConfig(**config))
        model.save_pretrained(folder / name)
    weights = checkpoints.original_sdxl_names(folder)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder.with_suffix(".safetensors"))
    return folder.with_suffix(".safetensors")


@pytest.mark.parametrize("name", FAMILY_FORMS)
def test_family_becomes_bundle(name: str, make: Make, tmp_path: Path):
    form = FAMILY_FORMS[name]
    sources = {TEXT_TO_IMAGE: tmp_path / "text-to-image", INPAINTING: tmp_path / "inpainting"}
    save_checkpoint(sources[TEXT_TO_IMAGE], form.text_to_image, in_channels=4)
    save_checkpoint(sources[INPAINTING], form.inpainting, in_channels=form.inpainting_channels, seed=1)
    given = {name: in_one_file(folder) for name, folder in sources.items()} if form.in_one_file else sources
    outcome = make(text_to_image=given[TEXT_TO_IMAGE], inpainting=given[INPAINTING])
    assert outcome.code == 0, outcome.errors
    assert [*verify(outcome.bundle), *problems(outcome.bundle)] == []
    assert read_manifest(outcome.bundle).native_size == form.native_size
    for (folder, source), kind in zip(sources.items(), form.kinds, strict=True):
        written, original = weight_files(outcome.bundle / folder), weight_files(source)
        assert written.keys() == original.keys()
        for file in written:
            ours, theirs = load_file(written[file]), load_file(original[file])
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[weight], theirs[weight].half()) for weight in ours), file
        pipeline: Any = DiffusionPipeline.from_pretrained(outcome.bundle / folder, local_files_only=True)
        assert type(pipeline) is kind
    backend = TorchBackend(bundles.open_bundle(outcome.bundle), choose("cpu", "float32"))
    assert np.std(run_passes(backend, CALL)[0]) > 0


@pytest.mark.parametrize(
    ("family", "name", "licence"),
    [
        ("1", "stable-diffusion-1.5", "CreativeML Open RAIL-M (Stable Diffusion)"),
        ("2", "stable-diffusion-2", "CreativeML Open RAIL++-M (Stable Diffusion 2)"),
        ("xl", "stable-diffusion-xl", "CreativeML Open RAIL++-M (Stable Diffusion XL)"),
    ],
)
def test_one_checkpoint_for_both_becomes_bundle(make: Make, tmp_path: Path, family: Family, name: str, licence: str):
    save_checkpoint(tmp_path / "checkpoint", family, in_channels=4)
    outcome = make(text_to_image=tmp_path / "checkpoint", inpainting=None)
    assert outcome.code == 0, outcome.errors
    assert [*verify(outcome.bundle), *problems(outcome.bundle)] == []
    manifest = read_manifest(outcome.bundle)
    assert (manifest.name, manifest.licence) == (name, f"{licence}, Apache-2.0 (Segment Anything)")
    assert list(manifest.sources) == [TEXT_TO_IMAGE, "sam"]
    backend = TorchBackend(bundles.open_bundle(outcome.bundle), choose("cpu", "float32"))
    assert backend.inpainting is backend.text_to_image


def test_few_step_unets_without_inpainting_checkpoint_are_refused(base: Base, make: Make):
    outcome = make("--few-step-unets", base.text_to_image / "unet", base.inpainting / "unet", inpainting=None)
    assert outcome.code == 1
    assert "--few-step-unets takes two, one for --inpainting: give that, too" in outcome.errors[0]
