"""The demo bundle on the CPU, loaded once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from inpaint_server.models import bundle as bundles
from inpaint_server.models.device import choose
from inpaint_server.models.painter import Painter


@pytest.fixture(scope="session")
def painter() -> Painter:
    return Painter(bundles.open_bundle(bundles.DEMO), choose("cpu", "float32"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the demo bundle to damage."""
    return Path(shutil.copytree(bundles.DEMO, tmp_path / "bundle"))
