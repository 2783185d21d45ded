"""`inpaint-server bundle make`: what it adds to a bundle, what it prints and records, and its former name."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from inpaint_server import cli
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, Generate, Segment, Upscale
from inpaint_server.domain.geometry import Point, Size
from inpaint_server.domain.request import Sampling
from inpaint_server.errors import BundleError
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.models import bundle as bundles
from inpaint_server.models.architectures import SD15_UNET, SD15_VAE, SDXL_UNET
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.conversion import few_step, published_names, sam_weights, single_file
from inpaint_server.models.device import choose
from inpaint_server.models.layout import DIFFUSION_WEIGHTS, FEW_STEP_UNET, INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.manifest import read_manifest, sha256, verify
from inpaint_server.models.sam import PUBLISHED
from testing import checkpoints
from testing.optional_models import save_safety_checker, save_upscaler
from testing.passes import run_passes
from tests.models.conversion.conftest import Base, Make, Outcome

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
DEMO = {
    "text_to_image": bundles.DEMO / TEXT_TO_IMAGE,
    "inpainting": bundles.DEMO / INPAINTING,
    "sam": bundles.DEMO / "sam",
}


def open_backend(outcome: Outcome) -> TorchBackend:
    assert outcome.code == 0, outcome.errors
    assert verify(outcome.bundle) == []
    return TorchBackend(bundles.open_bundle(outcome.bundle), choose("cpu", "float32"))


def paint(backend: TorchBackend, call: Generate) -> Pixels:
    return run_passes(backend, call)[0]


def test_single_files_are_served(base: Base, make: Make, tmp_path: Path):
    files = {"text_to_image": tmp_path / "sd.safetensors", "inpainting": tmp_path / "inpainting.safetensors"}
    for name, file in files.items():
        weights = checkpoints.original_names(getattr(base, name))
        save_file({key: weight.contiguous() for key, weight in weights.items()}, file)
    backend = open_backend(make(**files))
    sampling = Sampling(steps=2, guidance_scale=2.0, scheduler="ddim")
    call = Generate(prompt="sand", negative_prompt="", size=Size(height=64, width=64), sampling=sampling, noise_seed=1)
    assert paint(backend, call).std() > 0
    assert backend.text_to_image.vae is backend.inpainting.vae
    photo = Pixels(np.full((64, 64, 3), 128, np.uint8))
    (found,) = backend.segment([Segment(photo=photo, points=(Point(x=32, y=32, label=1),), box=None)])
    assert propose_masks(found).masks.shape == (3, 64, 64)


def test_command_in_readme_makes_bundle(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (block,) = re.findall(r"^\.venv/bin/inpaint-server (bundle make .*?)^```", README, re.MULTILINE | re.DOTALL)
    words = shlex.split(block.replace("\\\n", " "))
    names = dict(zip(words[3::2], words[4::2], strict=True))
    weights = checkpoints.original_names(base.text_to_image)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, tmp_path / names["--text-to-image"])
    torch.save({"state_dict": checkpoints.original_names(base.inpainting)}, tmp_path / names["--inpainting"])
    shutil.copy(base.sam, tmp_path / names["--sam"])
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli.app, words, catch_exceptions=False).exit_code == 0
    assert verify(tmp_path / "bundle") == []


def test_single_file_is_read_as_diffusers_reads_it(base: Base, tmp_path: Path):
    path = tmp_path / "sd.safetensors"
    weights = checkpoints.original_names(base.text_to_image)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)
    ours = single_file.read_file(path)
    for model, kind, folder in ((ours.unet, UNet2DConditionModel, "unet"), (ours.vae, AutoencoderKL, "vae")):
        config = str(base.text_to_image / folder)
        loaded: Any = kind.from_single_file(str(path), config=config, local_files_only=True)
        theirs = loaded.state_dict()
        assert model.weights.keys() == theirs.keys()
        assert all(torch.equal(model.weights[name], theirs[name]) for name in theirs)


def test_sizes_of_published_checkpoint_are_read_from_its_shapes():
    kinds: tuple[Any, Any] = (UNet2DConditionModel, AutoencoderKL)
    with torch.device("meta"):
        unet, vae = (
            kind.from_config(config)
            for kind, config in zip(kinds, ({**SD15_UNET, "in_channels": 9}, SD15_VAE), strict=True)
        )
    found = published_names.unet_config_of(checkpoints.original_unet(unet.state_dict(), layers=2))
    expected = {**SD15_UNET, "in_channels": 9, "_class_name": "UNet2DConditionModel"}
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(expected))
    found = published_names.vae_config_of(checkpoints.original_vae(vae.state_dict()))
    expected = {**SD15_VAE, "_class_name": "AutoencoderKL"}
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(expected))


def test_sizes_of_published_sdxl_are_read_from_its_shapes():
    kind: Any = UNet2DConditionModel
    with torch.device("meta"):
        weights = kind.from_config({**SDXL_UNET, "in_channels": 9}).state_dict()
        projection = {f"{published_names.OPEN_CLIP}text_projection": torch.zeros(1280, 1280)}
    found = published_names.unet_config_of({**checkpoints.original_unet(weights, layers=2), **projection})
    expected = {**SDXL_UNET, "in_channels": 9, "_class_name": "UNet2DConditionModel"}
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(expected))


def test_clip_tokenizer_gives_published_numbers():
    """As OpenAI's own tokenizer gives them."""
    words = single_file.clip_tokenizer()("a photo of an astronaut riding a horse")
    assert words.input_ids == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 49407]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_type_of_segment_anything_is_read_from_its_weights(kind: str, tmp_path: Path):
    torch.save(checkpoints.shapes_of_sam(PUBLISHED[kind]), tmp_path / "sam.pth")
    assert sam_weights.read_segmenter(tmp_path / "sam.pth").config.to_mapping() == {"type": kind}


def test_transformers_segmenter_gives_same_masks(tmp_path: Path):
    model = checkpoints.save_transformers_sam(tmp_path / "sam")
    read = sam_weights.read_segmenter(tmp_path / "sam")
    ours = sam_weights.build_sam(read.config)
    ours.load_state_dict(dict(read.weights))
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    points, labels = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]])
    with torch.no_grad():
        theirs = model(pixel_values=picture, input_points=points[None], input_labels=labels[None])
        sparse, dense = ours.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        masks, scores = ours.mask_decoder(
            image_embeddings=ours.image_encoder(picture),
            image_pe=ours.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    # Both compute in float32, in another order: a few of its last digits, at values up to about 1.
    torch.testing.assert_close(masks[0], theirs.pred_masks[0, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores[0], theirs.iou_scores[0, 0], atol=1e-5, rtol=1e-4)


def test_manifest_records_and_output_names_every_source(base: Base, make: Make):
    outcome = make("--name", "shop", "--version", "3")
    manifest = read_manifest(outcome.bundle)
    assert (manifest.name, manifest.version, manifest.native_size) == ("shop", "3", 64)
    assert list(manifest.sources) == [TEXT_TO_IMAGE, INPAINTING, "sam"]
    sam = manifest.sources["sam"]
    assert (sam.name, sam.revision, sam.sha256) == ("sam.pth", None, {"sam.pth": sha256(base.sam)})
    for source in manifest.sources.values():
        assert source.name in outcome.output
        assert all(f"{digest}  {file}" in outcome.output for file, digest in source.sha256.items())
    assert "Writing" in "".join(outcome.errors), "the progress"


def test_bundle_does_not_tell_where_it_was_made(base: Base, make: Make, tmp_path: Path):
    folder = Path(shutil.copytree(base.inpainting, tmp_path / "sd"))
    checkpoints.edit_json(folder / "unet" / "config.json", _name_or_path=str(folder))
    outcome = make(inpainting=folder)
    assert outcome.code == 0
    texts = [path.read_text() for path in outcome.bundle.rglob("*.json")]
    assert not any(str(tmp_path) in text for text in texts)


def test_wrong_checksum_is_refused(make: Make):
    outcome = make("--sam-sha256", "0" * 64)
    assert outcome.code == 1
    assert f"and not {'0' * 64}: do not use it" in " ".join(outcome.errors)


def test_existing_folder_is_kept(make: Make, tmp_path: Path):
    out = tmp_path / "made" / "bundle"
    out.mkdir(parents=True)
    (out / "mine").touch()
    outcome = make(out=out)
    assert outcome.code == 1
    assert "exists: remove it or choose another folder" in outcome.errors[0]
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_interrupted_run_leaves_nothing(make: Make, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inpaint_server.models.conversion.writer.BundleWriter.write_weights", interrupt)
    outcome = make()
    assert outcome.code == 130


def test_lora_is_fused_into_few_step_unets(make: Make, tmp_path: Path):
    layer = "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    rng = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 80, generator=rng), torch.randn(80, 4, generator=rng)
    convolution = "down_blocks_0_resnets_0_conv1"
    lora = {
        f"lora_unet_{layer}.lora_down.weight": down,
        f"lora_unet_{layer}.lora_up.weight": up,
        f"lora_unet_{layer}.alpha": torch.tensor(2.0),
        f"lora_unet_{convolution}.lora_down.weight": torch.randn(4, 48, 3, 3, generator=rng),
        f"lora_unet_{convolution}.lora_up.weight": torch.randn(48, 4, 1, 1, generator=rng),
        f"lora_unet_{convolution}.alpha": torch.tensor(1.0),
    }
    save_file(lora, tmp_path / "lora.safetensors")
    outcome = make("--few-step-lora", tmp_path / "lora.safetensors", **DEMO)
    backend = open_backend(outcome)
    assert bundles.open_bundle(outcome.bundle).defaults.few_step_weights
    changed = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    for usual in (backend.text_to_image, backend.inpainting):
        assert usual.few_step is not None
        assert usual.few_step.vae is usual.vae
        fused, plain = (one.unet.state_dict()[f"{changed}.weight"] for one in (usual.few_step, usual))
        assert torch.allclose(fused - plain, 0.5 * up @ down, atol=0.02)
    sampling = Sampling(steps=2, guidance_scale=1.0, scheduler="lcm")
    call = Generate(prompt="sand", negative_prompt="", size=Size(height=64, width=64), sampling=sampling, noise_seed=1)
    few = replace(call, sampling=replace(sampling, few_step_weights=True))
    assert not np.array_equal(paint(backend, call), paint(backend, few))


def test_few_step_unets_are_copied(base: Base, make: Make):
    outcome = make("--few-step-unets", base.text_to_image / "unet", base.inpainting / "unet")
    assert outcome.code == 0
    usual, few = (
        load_file(outcome.bundle / TEXT_TO_IMAGE / name / DIFFUSION_WEIGHTS) for name in ("unet", FEW_STEP_UNET)
    )
    assert all(torch.equal(weight, few[name]) for name, weight in usual.items())


def test_few_step_unet_that_takes_guidance_is_refused(base: Base, make: Make, tmp_path: Path):
    (tmp_path / "unet").mkdir()
    config = json.loads((base.inpainting / "unet" / "config.json").read_text())
    checkpoints.write_json(tmp_path / "unet" / "config.json", {**config, "time_cond_proj_dim": 256})
    outcome = make("--few-step-unets", base.text_to_image / "unet", tmp_path / "unet")
    assert outcome.code == 1
    assert "takes the guidance scale as an input" in outcome.errors[0]


def test_safety_checker_and_upscaler_are_added(make: Make, tmp_path: Path):
    published = tmp_path / "published"
    save_safety_checker(published / "safety_checker", published / "feature_extractor", threshold=-1.0)
    save_upscaler(tmp_path / "swin2sr")
    backend = open_backend(make("--safety-checker", published, "--upscaler", tmp_path / "swin2sr", **DEMO))
    grey = Pixels(np.full((64, 64, 3), 128, np.uint8))
    assert backend.check_safety([CheckSafety(picture=grey)]) == [True]
    assert backend.upscale([Upscale(picture=grey)])[0].shape == (128, 128, 3)


@pytest.mark.parametrize("option", ["--safety-checker", "--upscaler"])
def test_missing_addition_is_refused(base: Base, make: Make, option: str):
    outcome = make(option, base.text_to_image / "vae")
    assert outcome.code == 1
    assert str(base.text_to_image / "vae") in " ".join(outcome.errors)


def demo_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(bundles.DEMO / TEXT_TO_IMAGE / "unet", use_safetensors=True)


def test_lora_of_another_model_is_refused():
    unet = demo_unet()
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    for down, up in ((torch.zeros(4, 320), torch.zeros(320, 4)), (torch.zeros(4, 80), torch.zeros(320, 4))):
        with pytest.raises(BundleError, match="another model"):
            few_step.fuse_lora(unet, {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    with pytest.raises(BundleError, match="another model"):
        few_step.fuse_lora(unet, {"unet.lora_A.weight": torch.zeros(4, 320)})


@pytest.mark.parametrize(
    ("other", "message"),
    [("lora_te_text_model_mlp", "outside the UNet"), ("lora_unet_mid_block_x", "1 of the LoRA's 2")],
)
def test_lora_with_unknown_layers_is_refused(other: str, message: str):
    fitting = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    lora = {f"{name}.lora_down.weight": torch.zeros(4, 80) for name in (fitting, other)}
    lora |= {f"{name}.lora_up.weight": torch.zeros(80, 4) for name in (fitting, other)}
    with pytest.raises(BundleError, match=message):
        few_step.fuse_lora(demo_unet(), lora)


def test_former_script_still_makes_bundle(make: Make, monkeypatch: pytest.MonkeyPatch):
    """With its own flags, as `make` calls the command."""
    spec = importlib.util.spec_from_file_location("make_bundle", ROOT / "scripts" / "make_bundle.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def main() -> None:
        sys.argv[1:3] = ["local"]
        cli.run(script.app)

    monkeypatch.setattr(cli, "main", main)
    outcome = make("--sam-type", "vit_b")
    assert outcome.code == 0
    assert "now `inpaint-server bundle make`" in " ".join(outcome.errors)
    assert "--sam-type is no longer needed" in " ".join(outcome.errors)
    assert verify(outcome.bundle) == []
