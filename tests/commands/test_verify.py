"""`inpaint-server models verify`: a bundle's problems, or its summary."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import inpaint_server
from inpaint_server.cli import app

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
