"""What this machine has, what is wrong with it, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inpaint_server import __version__
from inpaint_server.errors import InpaintServerError
from inpaint_server.settings import Settings

_PACKAGES: Final = (
    "torch",
    "diffusers",
    "transformers",
    "segment-anything",
    "multi-model-server",
    "sagemaker-inference",
)
_ENOUGH_MEMORY_GB: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; `remedy` is empty where all is well."""

    subject: str
    found: str
    remedy: str = ""


def examine(settings: Settings) -> Iterable[Finding]:
    """Look at everything a server needs, one finding after the other; nothing is changed."""
    checks: tuple[Callable[[Settings], Iterable[Finding]], ...] = (
        _packages,
        _device,
        _java,
        _bundle,
        _temporary_folder,
    )
    for check in checks:
        yield from check(settings)


def _packages(_: Settings) -> Iterable[Finding]:
    yield Finding(subject="inpaint-server", found=f"{__version__} on Python {platform.python_version()}")
    versions: list[str] = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(subject=name, found="not installed", remedy="Install the versions of requirements.lock.")
    yield Finding(subject="packages", found=", ".join(versions))


def _device(settings: Settings) -> Iterable[Finding]:
    from inpaint_server.models.device import choose

    try:
        device = choose(settings.device, settings.dtype)
    except InpaintServerError as error:
        yield Finding(subject="device", found="none", remedy=error.message)
        return
    memory = device.memory_gb
    if memory is None:
        slow = device.dtype_name == "float16"
        remedy = "float16 on a CPU is 30 times slower: set INPAINT_DTYPE=float32." if slow else ""
        yield Finding(subject="device", found=f"cpu, {os.cpu_count()} cores, {device.dtype_name}", remedy=remedy)
        yield Finding(subject="attention", found="sdpa")
        return
    remedy = "" if memory > _ENOUGH_MEMORY_GB else "The full bundle is meant for 24 GB: set INPAINT_MAX_BATCH=1."
    yield Finding(subject="device", found=f"{device.name}, {memory:.0f} GB, {device.dtype_name}", remedy=remedy)
    yield _attention()


def _attention() -> Finding:
    try:
        version = importlib.metadata.version("xformers")
    except importlib.metadata.PackageNotFoundError:
        return Finding(subject="attention", found="sdpa (PyTorch's own; xformers is not installed, and not required)")
    return Finding(subject="attention", found=f"xformers {version}")


def _java(settings: Settings) -> Iterable[Finding]:
    from inpaint_server.front_door.mms import java_home

    java = java_home(settings) / "bin" / "java"
    try:
        answer = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        yield Finding(
            subject="Java",
            found=f"{java} does not run",
            remedy="Unset JAVA_HOME to use the packaged Java, or serve with --direct, which needs none.",
        )
    else:
        yield Finding(subject="Java", found=f"{answer.stderr.splitlines()[0]} ({java})")


def _bundle(settings: Settings) -> Iterable[Finding]:
    from inpaint_server.models.bundle import find, open_bundle

    try:
        bundle = open_bundle(find(settings.bundle, settings.model_dir))
    except InpaintServerError as error:
        yield Finding(subject="bundle", found="none", remedy=error.message)
    else:
        size = sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e6
        yield Finding(subject="bundle", found=f"{bundle.label}, {size:,.0f} MB, {bundle.folder}")


def _temporary_folder(_: Settings) -> Iterable[Finding]:
    import tempfile

    try:
        free = shutil.disk_usage(Path(tempfile.gettempdir())).free
    except OSError:
        yield Finding(
            subject="temporary folder", found="none", remedy="Mount a writable folder and point TMPDIR at it."
        )
    else:
        yield Finding(subject="temporary folder", found=f"{tempfile.gettempdir()}, {free / 1e9:.0f} GB free")
