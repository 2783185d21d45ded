"""The script that makes a bundle from checkpoints on disk."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from inpaint_server.errors import BundleError
from inpaint_server.models import bundle as bundles
from inpaint_server.models.device import choose
from inpaint_server.models.painter import Painter

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
    folders = ["--text-to-image", str(demo / bundles.TEXT_TO_IMAGE), "--inpainting", str(demo / bundles.INPAINTING)]
    return ["local", str(out), *folders, "--sam", str(sam), "--sam-type", sam_type, "--native-size", "256"]


def checkpoint(folder: Path) -> Path:
    """The demo's segmenter as a pickle, as such checkpoints are published."""
    path = folder / "sam.pth"
    torch.save(load_file(bundles.DEMO / "sam" / "model.safetensors"), path)
    return path


def test_checkpoints_become_a_bundle_that_is_whole_and_loads(script: ModuleType, tmp_path: Path):
    out = tmp_path / "bundle"
    sizes = str(bundles.DEMO / "sam" / "config.json")
    made = CliRunner().invoke(script.app, arguments(out, checkpoint(tmp_path), sizes), catch_exceptions=False)
    assert made.exit_code == 0
    assert bundles.verify(out) == []
    opened = bundles.open_bundle(out)
    assert opened.manifest.native_size == 256
    assert opened.shares("vae")
    assert Painter(opened, choose("cpu", "float32")).card.bundle == "stable-diffusion-1.5 1"


def test_a_checkpoint_of_another_type_makes_no_bundle(script: ModuleType, tmp_path: Path):
    out = tmp_path / "bundle"
    sizes = json.loads((bundles.DEMO / "sam" / "config.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**sizes, "depth": sizes["depth"] + 1}))
    made = CliRunner().invoke(script.app, arguments(out, checkpoint(tmp_path), str(tmp_path / "other.json")))
    assert "give its type with --sam-type" in str(made.exception)
    assert not out.exists()


def test_a_pickle_that_runs_code_is_refused(script: ModuleType, tmp_path: Path):
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('harm')",)

    path = tmp_path / "sam.pth"
    torch.save({"weights": Harmful()}, path)
    with pytest.raises(BundleError, match="more than weights"):
        script.convert_sam(path, "vit_b", tmp_path / "sam")
