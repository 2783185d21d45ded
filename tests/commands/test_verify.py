"""`inpaint-server models verify`: a bundle's problems, or its summary; and what doctor says of the same models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

import inpaint_server
from inpaint_server.cli import app
from inpaint_server.commands.doctor import examine
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.manifest import write_manifest
from inpaint_server.settings import read
from testing.checkpoints import VAE_WEIGHTS, edit_json

DEMO = Path(inpaint_server.__file__).parent / "demo" / "bundle"


def verify(folder: Path) -> Result:
    return CliRunner().invoke(app, ["models", "verify", str(folder)])


def test_verify_complete_bundle_prints_summary():
    result = verify(DEMO)
    assert result.exit_code == 0
    assert "is whole" in result.stdout


@pytest.mark.parametrize("name", ["bundle.json", "sam/config.json"])
def test_verify_missing_file_is_named(tmp_path: Path, name: str):
    bundle = Path(shutil.copytree(DEMO, tmp_path / "bundle"))
    (bundle / name).unlink()
    result = verify(bundle)
    assert result.exit_code == 1
    assert name in result.stdout
    assert result.stdout.endswith(".\n")


def swap_unets(bundle: Path) -> str:
    unets = [bundle / folder / "unet" for folder in (TEXT_TO_IMAGE, INPAINTING)]
    unets[0].rename(bundle / "first")
    unets[1].rename(unets[0])
    (bundle / "first").rename(unets[1])
    return "takes 9 channels, for inpainting: give a checkpoint for text to image"


def exchange_configuration(bundle: Path) -> str:
    shutil.copy(bundle / TEXT_TO_IMAGE / "unet" / "config.json", bundle / INPAINTING / "unet" / "config.json")
    return "does not fit its configuration (conv_in.weight is 48 x 9 x 3 x 3 in the weights and 48 x 4 x 3 x 3"


def cut_vocabulary(bundle: Path) -> str:
    edit_json(bundle / TEXT_TO_IMAGE / "text_encoder" / "config.json", vocab_size=1000)
    return "does not fit its configuration (embeddings.token_embedding.weight is"


def name_other_segmenter(bundle: Path) -> str:
    edit_json(bundle / "sam" / "config.json", depth=4, global_attn_indexes=[2])
    return "beyond its configuration"


def leave_out_weight(bundle: Path) -> str:
    path = bundle / TEXT_TO_IMAGE / VAE_WEIGHTS
    weights = load_file(path)
    del weights[min(weights)]
    save_file(weights, path)
    return "lacks the weight"


CHANGES = (swap_unets, exchange_configuration, cut_vocabulary, name_other_segmenter, leave_out_weight)


@pytest.mark.parametrize("change", CHANGES)
def test_models_that_do_not_fit_are_reported(tmp_path: Path, change: Callable[[Path], str]):
    """Although every file is the manifest's."""
    bundle = Path(shutil.copytree(DEMO, tmp_path / "bundle"))
    message = change(bundle)
    write_manifest(bundle, name="other", version="1", licence="none", native_size=256)
    result = verify(bundle)
    assert result.exit_code == 1
    assert message in result.stdout
    assert all(line.endswith(".") for line in result.stdout.splitlines())
    checks = list(examine(read(bundle=str(bundle))))
    assert any(message in check.remedy for check in checks if check.subject == "models")
