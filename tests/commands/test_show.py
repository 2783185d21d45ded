"""`inpaint-server show`: describes how a picture was generated, from its own file, and generates it again."""

from __future__ import annotations

from collections.abc import Iterator
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


@pytest.fixture
def plain_server() -> Iterator[PlainServer]:
    with PlainServer(provenance="full") as running:
        yield running


def show(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def advert(server: PlainServer, photo: Path, out: Path, **fields: object) -> Path:
    with Client(server.url) as client:
        request: dict[str, object] = {
            "background_prompt": "a quiet sea",
            "foreground_prompt": "sand",
            "steps": 1,
            "seed": 11,
            **fields,
        }
        client.advert(photo, **request).pictures[0].save(out)  # pyright: ignore[reportArgumentType]
    return out


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
def test_show_describes_and_repeats_byte_for_byte(
    plain_server: PlainServer, photo: Path, tmp_path: Path, kind: str, suffix: str
):
    original = advert(plain_server, photo, tmp_path / f"original{suffix}", output_format=kind, placement="centre")
    described = show(original)
    assert described.exit_code == 0
    lines = described.stdout.splitlines()
    assert lines[0] == f"inpaint-server {__version__} with plain in uint8"
    assert {"background_prompt: a quiet sea", "placement: centre", "seed: 11"} <= set(lines)
    again = tmp_path / "new" / f"again{suffix}"
    repeated = show(original, "--repeat", again, "--photo", photo, "--endpoint", plain_server.url)
    assert repeated.exit_code == 0, repeated.output
    assert repeated.stderr == ""
    assert again.read_bytes() == original.read_bytes()


def test_repeat_requires_mask_of_request(plain_server: PlainServer, photo: Path, mask: Path, tmp_path: Path):
    original = advert(plain_server, photo, tmp_path / "original.png", mask=mask)
    again, target = tmp_path / "again.png", ("--endpoint", plain_server.url)
    without = show(original, "--repeat", again, "--photo", photo, *target)
    assert isinstance(without.exception, InvalidRequest)
    assert "--mask" in without.exception.message
    assert show(original, "--repeat", again, "--photo", photo, "--mask", mask, *target).exit_code == 0
    assert again.read_bytes() == original.read_bytes()


def test_repeat_with_other_photo_refused_before_generation(plain_server: PlainServer, photo: Path, tmp_path: Path):
    original = advert(plain_server, photo, tmp_path / "original.png")
    steps = len(plain_server.backend.batches)
    for options, expected in (([], "--photo"), (["--photo", original], "another one")):
        refused = show(original, "--repeat", tmp_path / "again.png", *options, "--endpoint", plain_server.url)
        assert isinstance(refused.exception, InvalidRequest)
        assert expected in refused.exception.message
    assert len(plain_server.backend.batches) == steps


def test_repeat_reports_changed_bundle(plain_server: PlainServer, photo: Path, tmp_path: Path):
    original = advert(plain_server, photo, tmp_path / "original.png")
    with PlainServer(bundle="other") as other:
        repeated = show(original, "--repeat", tmp_path / "again.png", "--photo", photo, "--endpoint", other.url)
    assert "The bundle was plain and is other now." in repeated.stderr


def test_repeat_background_without_photo(plain_server: PlainServer, tmp_path: Path):
    with Client(plain_server.url) as client:
        client.background(background_prompt="sea", seed=3, steps=1).pictures[0].save(tmp_path / "original.png")
    again = tmp_path / "again.png"
    assert show(tmp_path / "original.png", "--repeat", again, "--endpoint", plain_server.url).exit_code == 0
    assert again.read_bytes() == (tmp_path / "original.png").read_bytes()


def test_unknown_picture_and_suffix_refused(plain_server: PlainServer, photo: Path, tmp_path: Path):
    assert isinstance(show(photo).exception, InvalidRequest)
    original = advert(plain_server, photo, tmp_path / "original.png")
    refused = show(original, "--repeat", tmp_path / "again.gif", "--photo", photo, "--endpoint", plain_server.url)
    assert isinstance(refused.exception, InvalidRequest)
    assert ".webp" in refused.exception.message


@pytest.mark.parametrize(
    ("provenance", "fields", "why"),
    [
        ("no-prompts", {}, "left out"),
        ("full", {"background_prompt": "\U0001f600" * 2000, "output_format": "jpeg"}, "shortened"),
    ],
)
def test_repeat_without_whole_prompts_is_refused(
    photo: Path, tmp_path: Path, provenance: str, fields: dict[str, object], why: str
):
    prompts: dict[str, object] = {"foreground_prompt": "\U0001f600" * 2000, "negative_prompt": "\U0001f600" * 2000}
    with PlainServer(provenance=provenance) as server:
        original = advert(server, photo, tmp_path / "original.jpg", **{**prompts, **fields})
        refused = show(original, "--repeat", tmp_path / "again.jpg", "--photo", photo, "--endpoint", server.url)
    assert f"prompts: {why}" in show(original).stdout
    assert isinstance(refused.exception, InvalidRequest)
    assert f"The prompts in the file are {why}" in refused.exception.message
