"""The demo bundle on the CPU, loaded once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose


@pytest.fixture(scope="session")
def backend() -> TorchBackend:
    return TorchBackend(bundles.open_bundle(bundles.DEMO), choose("cpu", "float32"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the demo bundle to damage."""
    return Path(shutil.copytree(bundles.DEMO, tmp_path / "bundle"))
