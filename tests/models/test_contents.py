"""A bundle's contents by names and shapes: nothing is wrong with what is served, and misfits are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from inpaint_server.models.contents import problems
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from testing.checkpoints import edit_json
from testing.families import FAMILIES, Family, save_bundle, save_checkpoint


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("sdxl") / "bundle", "xl", None)


@pytest.fixture
def copy(sdxl: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sdxl, tmp_path / "bundle"))


@pytest.mark.parametrize("family", FAMILIES)
def test_served_bundle_has_no_problem(tmp_path: Path, family: Family):
    assert problems(save_bundle(tmp_path, family, family)) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_one_checkpoint_for_both_has_no_problem(tmp_path: Path, family: Family):
    assert problems(save_bundle(tmp_path, family, None)) == []


@pytest.mark.parametrize(("first", "second"), [("xl", "1"), ("1", "xl"), ("2-v", "2")])
def test_checkpoints_of_two_families_have_no_problem(tmp_path: Path, first: Family, second: Family):
    assert problems(save_bundle(tmp_path, first, second)) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_inpainting_checkpoint_may_take_latents_alone(tmp_path: Path, family: Family):
    bundle = save_bundle(tmp_path, "1", None)
    save_checkpoint(bundle / INPAINTING, family, in_channels=4)
    assert problems(bundle) == []


def save_second_encoder(checkpoint: Path, kind: Any = CLIPTextModelWithProjection, **sizes: int) -> None:
    """Another in the place of the second, of other sizes."""
    folder = checkpoint / "text_encoder_2"
    config: dict[str, Any] = {**json.loads((folder / "config.json").read_text()), **sizes}
    kind(CLIPTextConfig(**config)).save_pretrained(folder)


def widen_embeddings(checkpoint: Path) -> str:
    save_second_encoder(checkpoint, hidden_size=48)
    return "takes text embeddings 64 wide and its two text encoders together give 80"


def widen_pooled_embedding(checkpoint: Path) -> str:
    save_second_encoder(checkpoint, projection_dim=40)
    return "takes 80 numbers for each whole prompt and its canvas, and with its second text encoder there are 88"


def leave_out_projection(checkpoint: Path) -> str:
    save_second_encoder(checkpoint, CLIPTextModel)
    return "lacks the weight text_projection.weight of its configuration"


def leave_out_encoder(checkpoint: Path) -> str:
    shutil.rmtree(checkpoint / "text_encoder_2")
    return "has no text_encoder_2/: copy it there"


def leave_out_tokenizer(checkpoint: Path) -> str:
    shutil.rmtree(checkpoint / "tokenizer_2")
    return "has no tokenizer_2/: copy it there"


def condition_on_picture(checkpoint: Path) -> str:
    edit_json(checkpoint / "unet" / "config.json", addition_embed_type="image")
    return "holds weights of an unknown kind: this server takes Stable Diffusion 1.x, 2.x and XL"


CHANGES = (
    widen_embeddings,
    widen_pooled_embedding,
    leave_out_projection,
    leave_out_encoder,
    leave_out_tokenizer,
    condition_on_picture,
)


@pytest.mark.parametrize("change", CHANGES)
def test_misfit_in_sdxl_is_named(copy: Path, change: Callable[[Path], str]):
    message = change(copy / TEXT_TO_IMAGE)
    (problem,) = problems(copy)
    assert message in problem
    assert problem.endswith(".")
