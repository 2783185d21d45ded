"""The script that makes a bundle from checkpoints on disk."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, Generate, Upscale
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling
from inpaint_server.errors import BundleError
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.manifest import verify
from testing.optional_models import save_safety_checker, save_upscaler

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_bundle.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_bundle", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_bundle"] = module
    spec.loader.exec_module(module)
    return module


def arguments(out: Path, sam: Path, sam_type: str) -> list[str]:
    demo = bundles.DEMO
    folders = ["--text-to-image", str(demo / TEXT_TO_IMAGE), "--inpainting", str(demo / INPAINTING)]
    return ["local", str(out), *folders, "--sam", str(sam), "--sam-type", sam_type, "--native-size", "256"]


def checkpoint(folder: Path) -> Path:
    """The demo's segmenter as a pickle, as such checkpoints are published."""
    path = folder / "sam.pth"
    torch.save(load_file(bundles.DEMO / "sam" / "model.safetensors"), path)
    return path


def test_local_checkpoints_become_loadable_bundle(script: ModuleType, tmp_path: Path):
    out = tmp_path / "bundle"
    sizes = str(bundles.DEMO / "sam" / "config.json")
    result = CliRunner().invoke(script.app, arguments(out, checkpoint(tmp_path), sizes), catch_exceptions=False)
    assert result.exit_code == 0
    assert verify(out) == []
    opened = bundles.open_bundle(out)
    assert opened.manifest.native_size == 256
    assert opened.shares("vae")
    assert TorchBackend(opened, choose("cpu", "float32")).card.bundle == "stable-diffusion-1.5 1"


def test_lora_is_fused_into_few_step_unets(script: ModuleType, tmp_path: Path):
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
    out, sizes = tmp_path / "bundle", str(bundles.DEMO / "sam" / "config.json")
    command = [*arguments(out, checkpoint(tmp_path), sizes), "--few-step-lora", str(tmp_path / "lora.safetensors")]
    assert CliRunner().invoke(script.app, command, catch_exceptions=False).exit_code == 0
    assert verify(out) == []
    opened = bundles.open_bundle(out)
    assert opened.defaults.few_step_weights
    backend = TorchBackend(opened, choose("cpu", "float32"))
    changed = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    for usual in (backend.text_to_image, backend.inpainting):
        assert usual.few_step is not None
        assert usual.few_step.vae is usual.vae
        fused, plain = (one.unet.state_dict()[f"{changed}.weight"] for one in (usual.few_step, usual))
        assert torch.allclose(fused - plain, 0.5 * up @ down, atol=0.02)
    sampling = Sampling(steps=2, guidance_scale=1.0, scheduler="lcm")
    call = Generate(prompt="sand", negative_prompt="", size=Size(height=64, width=64), sampling=sampling, noise_seed=1)
    pictures: list[Pixels] = []
    for one in (call, replace(call, sampling=replace(sampling, few_step_weights=True))):
        (state,) = backend.begin([one])
        while not state.done:
            backend.advance([state])
        pictures += backend.finish([state])
    assert not np.array_equal(pictures[0], pictures[1])


def test_safety_checker_and_upscaler_are_added(script: ModuleType, tmp_path: Path):
    published, sizes = tmp_path / "published", str(bundles.DEMO / "sam" / "config.json")
    save_safety_checker(published / "safety_checker", published / "feature_extractor", threshold=-1.0)
    save_upscaler(tmp_path / "swin2sr")
    more = ["--safety-checker", str(published), "--upscaler", str(tmp_path / "swin2sr")]
    command = [*arguments(tmp_path / "bundle", checkpoint(tmp_path), sizes), *more]
    assert CliRunner().invoke(script.app, command, catch_exceptions=False).exit_code == 0
    assert verify(tmp_path / "bundle") == []
    backend = TorchBackend(bundles.open_bundle(tmp_path / "bundle"), choose("cpu", "float32"))
    grey = Pixels(np.full((64, 64, 3), 128, np.uint8))
    assert backend.check_safety([CheckSafety(picture=grey)]) == [True]
    assert backend.upscale([Upscale(picture=grey)])[0].shape == (128, 128, 3)


def test_lora_of_another_model_is_refused(script: ModuleType):
    unet = script.load_unet(bundles.DEMO / TEXT_TO_IMAGE / "unet")
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    for down, up in ((torch.zeros(4, 320), torch.zeros(320, 4)), (torch.zeros(4, 80), torch.zeros(320, 4))):
        with pytest.raises(BundleError, match="another model"):
            script.fuse_lora(unet, {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    with pytest.raises(BundleError, match="another model"):
        script.fuse_lora(unet, {"unet.lora_A.weight": torch.zeros(4, 320)})


@pytest.mark.parametrize(
    ("other", "message"),
    [("lora_te_text_model_mlp", "outside the UNet"), ("lora_unet_mid_block_x", "1 of the LoRA's 2")],
)
def test_lora_with_unknown_layers_is_refused(script: ModuleType, other: str, message: str):
    unet = script.load_unet(bundles.DEMO / TEXT_TO_IMAGE / "unet")
    fitting = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    lora = {f"{name}.lora_down.weight": torch.zeros(4, 80) for name in (fitting, other)}
    lora |= {f"{name}.lora_up.weight": torch.zeros(80, 4) for name in (fitting, other)}
    with pytest.raises(BundleError, match=message):
        script.fuse_lora(unet, lora)


def test_checkpoint_of_another_type_makes_no_bundle(script: ModuleType, tmp_path: Path):
    out = tmp_path / "bundle"
    sizes = json.loads((bundles.DEMO / "sam" / "config.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**sizes, "depth": sizes["depth"] + 1}))
    result = CliRunner().invoke(script.app, arguments(out, checkpoint(tmp_path), str(tmp_path / "other.json")))
    assert "give its type with --sam-type" in str(result.exception)
    assert not out.exists()


def test_pickle_that_runs_code_is_refused(script: ModuleType, tmp_path: Path):
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('harm')",)

    path = tmp_path / "sam.pth"
    torch.save({"weights": Harmful()}, path)
    with pytest.raises(BundleError, match="more than weights"):
        script.convert_sam(path, "vit_b", tmp_path / "sam")
