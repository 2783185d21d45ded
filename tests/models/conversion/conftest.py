"""Small checkpoints, made once, and the command that makes bundles of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from inpaint_server import cli
from testing import checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How `inpaint-server bundle make` ended."""

    code: int
    output: str
    errors: list[str]
    bundle: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A checkpoint of each kind in its plainest form, which tests do not change, and a folder for other forms."""

    text_to_image: Path
    inpainting: Path
    sam: Path
    folder: Path


Make = Callable[..., Outcome]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.save(checkpoints.sam_weights(), folder / "sam.pth")
    return Base(
        text_to_image=checkpoints.save_diffusers(folder / "sd", channels=4, seed=4),
        inpainting=checkpoints.save_diffusers(folder / "sd-inpainting", channels=9, seed=9),
        sam=folder / "sam.pth",
        folder=folder,
    )


@pytest.fixture
def make(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Make:
    """Runs the command as a shell does; sources that are not given are the plain ones, and None leaves one out."""

    def run(*options: str | Path, out: Path = tmp_path / "made" / "bundle", **given: str | Path | None) -> Outcome:
        out.parent.mkdir(exist_ok=True)
        before = sorted(out.parent.iterdir())
        plain = {"text_to_image": base.text_to_image, "inpainting": base.inpainting, "sam": base.sam}
        sources = [(f"--{name.replace('_', '-')}", value) for name, value in {**plain, **given}.items() if value]
        words = [word for source in sources for word in source]
        monkeypatch.setattr(sys, "argv", ["inpaint-server", "bundle", "make", *map(str, [out, *words, *options])])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        code = end.value.code or 0
        assert isinstance(code, int)
        assert not code or sorted(out.parent.iterdir()) == before, "a refusal leaves nothing behind"
        output, errors = capfd.readouterr()
        return Outcome(code=code, output=output, errors=errors.strip().splitlines(), bundle=out)

    return run
