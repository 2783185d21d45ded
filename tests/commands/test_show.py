"""`inpaint-server show`: a picture's file says how it was made, and leads to the same picture again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from inpaint_server import __version__
from inpaint_server.cli import app
from inpaint_server.client import Client
from inpaint_server.errors import InvalidRequest
from testing.plain_server import PlainServer


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    pixels = np.zeros((48, 48), np.uint8)
    pixels[10:40, 10:30] = 255
    Image.fromarray(pixels).save(path)
    return path


def show(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def advert(server: PlainServer, photo: Path, out: Path, **fields: object) -> Path:
    with Client(server.url) as client:
        told: dict[str, object] = {
            "background_prompt": "a quiet sea",
            "foreground_prompt": "sand",
            "steps": 1,
            "seed": 11,
            **fields,
        }
        client.advert(photo, **told).pictures[0].save(out)  # pyright: ignore[reportArgumentType]
    return out


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
def test_a_file_tells_how_it_was_made_and_is_made_again_byte_for_byte(
    plain_server: PlainServer, photo: Path, tmp_path: Path, kind: str, suffix: str
):
    made = advert(plain_server, photo, tmp_path / f"made{suffix}", output_format=kind, placement="centre")
    told = show(made)
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    assert lines[0] == f"inpaint-server {__version__} with plain in uint8"
    assert {"background_prompt: a quiet sea", "placement: centre", "seed: 11"} <= set(lines)
    again = tmp_path / "new" / f"again{suffix}"
    repeated = show(made, "--repeat", again, "--photo", photo, "--endpoint", plain_server.url)
    assert repeated.exit_code == 0, repeated.output
    assert repeated.stderr == ""
    assert again.read_bytes() == made.read_bytes()


def test_a_mask_that_was_sent_is_asked_for_again(plain_server: PlainServer, photo: Path, mask: Path, tmp_path: Path):
    made = advert(plain_server, photo, tmp_path / "made.png", mask=mask)
    again, there = tmp_path / "again.png", ("--endpoint", plain_server.url)
    without = show(made, "--repeat", again, "--photo", photo, *there)
    assert isinstance(without.exception, InvalidRequest)
    assert "--mask" in without.exception.message
    assert show(made, "--repeat", again, "--photo", photo, "--mask", mask, *there).exit_code == 0
    assert again.read_bytes() == made.read_bytes()


def test_another_photo_is_refused_before_anything_is_painted(plain_server: PlainServer, photo: Path, tmp_path: Path):
    made = advert(plain_server, photo, tmp_path / "made.png")
    painted = len(plain_server.backend.batches)
    for given, said in (([], "--photo"), (["--photo", made], "another one")):
        refused = show(made, "--repeat", tmp_path / "again.png", *given, "--endpoint", plain_server.url)
        assert isinstance(refused.exception, InvalidRequest)
        assert said in refused.exception.message
    assert len(plain_server.backend.batches) == painted


def test_what_is_not_as_it_was_is_told(plain_server: PlainServer, photo: Path, tmp_path: Path):
    made = advert(plain_server, photo, tmp_path / "made.png")
    with PlainServer(bundle="other") as other:
        repeated = show(made, "--repeat", tmp_path / "again.png", "--photo", photo, "--endpoint", other.url)
    assert "The bundle was plain and is other now." in repeated.stderr


def test_a_background_needs_no_photo(plain_server: PlainServer, tmp_path: Path):
    with Client(plain_server.url) as client:
        client.background(background_prompt="sea", seed=3, steps=1).pictures[0].save(tmp_path / "made.png")
    again = tmp_path / "again.png"
    assert show(tmp_path / "made.png", "--repeat", again, "--endpoint", plain_server.url).exit_code == 0
    assert again.read_bytes() == (tmp_path / "made.png").read_bytes()


def test_a_strangers_picture_and_a_strange_suffix_are_refused(plain_server: PlainServer, photo: Path, tmp_path: Path):
    assert isinstance(show(photo).exception, InvalidRequest)
    made = advert(plain_server, photo, tmp_path / "made.png")
    refused = show(made, "--repeat", tmp_path / "again.gif", "--photo", photo, "--endpoint", plain_server.url)
    assert isinstance(refused.exception, InvalidRequest)
    assert ".webp" in refused.exception.message
