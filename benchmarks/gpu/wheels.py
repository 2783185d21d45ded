"""What a machine without a package index lacks: named, and unpacked from wheels that came along with the checkout."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_MISSING: Final = (
    "annotated-types",
    "cachetools",
    "diffusers",
    "importlib-metadata",
    "pi-heif",
    "pydantic",
    "pydantic-core",
    "pydantic-settings",
    "python-dotenv",
    "python-multipart",
    "segment-anything",
    "starlette",
    "structlog",
    "typing-inspection",
    "uvicorn",
)
"""What the measured code needs beyond an image of PyTorch and transformers: those that bring torch, torchvision,
accelerate, transformers, scipy, Pillow, httpx, Jinja2, psutil, prometheus-client, rich, typer and pytest."""


def requirements() -> list[str]:
    """The packages that must travel, in the versions that are installed here, as pip's requirements."""
    return [f"{name}=={version(name)}" for name in _MISSING]


@contextmanager
def on_path(folder: Path | None) -> Generator[None]:
    """Unpack the wheels of a folder to where this process, and those it starts, find them; None: there is no folder."""
    if folder is None:
        yield
        return
    with TemporaryDirectory(prefix="wheels-") as site:
        for wheel in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        sys.path.insert(0, site)
        before = os.environ.get("PYTHONPATH", "")  # noqa: TID251 - what children inherit
        os.environ["PYTHONPATH"] = f"{site}:{before}"  # noqa: TID251
        try:
            yield
        finally:
            sys.path.remove(site)
            os.environ["PYTHONPATH"] = before  # noqa: TID251
