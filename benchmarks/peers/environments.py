"""A virtual environment for each peer: its own packages first, torch and whatever else it can share from ours."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import OUT


def python_of(name: str, packages: Sequence[str]) -> Path:
    """The interpreter of a peer's environment, made where it is not there yet.

    Raises:
        CalledProcessError: its packages cannot be installed.
    """
    folder = (OUT / "peers" / name).absolute()
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)  # noqa: S603
        (folder / "complete").touch()
    return python


def import_path() -> str:
    """Where a peer's process finds this folder and the package: paths files in our environment are not read there."""
    import inpaint_server

    return f"{Path.cwd()}:{Path(inpaint_server.__file__).parents[1]}"
