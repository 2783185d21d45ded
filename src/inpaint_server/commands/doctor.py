"""Checks of this machine: what a server needs, and what to do where it is missing."""

from __future__ import annotations

import importlib
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
class CheckResult:
    """The result of one check; `remedy` is empty where nothing has to be done."""

    subject: str
    result: str
    remedy: str = ""


def examine(settings: Settings) -> Iterable[CheckResult]:
    """Check everything a server needs, one thing after the other; nothing is changed."""
    checks: tuple[Callable[[Settings], Iterable[CheckResult]], ...] = (
        _packages,
        _device,
        _java,
        _bundle,
        _xformers,
        _attention,
        _signing,
        _temporary_folder,
    )
    for check in checks:
        yield from check(settings)


def _packages(_: Settings) -> Iterable[CheckResult]:
    yield CheckResult(subject="inpaint-server", result=f"{__version__} on Python {platform.python_version()}")
    versions: list[str] = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield CheckResult(subject=name, result="not installed", remedy="Install the versions of requirements.lock.")
    yield CheckResult(subject="packages", result=", ".join(versions))


def _device(settings: Settings) -> Iterable[CheckResult]:
    from inpaint_server.models.device import choose

    try:
        device = choose(settings.device, settings.dtype)
    except InpaintServerError as error:
        yield CheckResult(subject="device", result="none", remedy=error.message)
        return
    memory = device.memory_gb
    if memory is None:
        slow = device.dtype_name == "float16"
        remedy = "float16 on a CPU is 30 times slower: set INPAINT_DTYPE=float32." if slow else ""
        yield CheckResult(subject="device", result=f"cpu, {os.cpu_count()} cores, {device.dtype_name}", remedy=remedy)
        return
    remedy = "" if memory > _ENOUGH_MEMORY_GB else "The full bundle is meant for 24 GB: set INPAINT_MAX_BATCH=1."
    yield CheckResult(subject="device", result=f"{device.name}, {memory:.0f} GB, {device.dtype_name}", remedy=remedy)


def _attention(settings: Settings) -> Iterable[CheckResult]:
    """Loads the bundle's UNet: only on its modules can be read which attention runs."""
    from inpaint_server.models.bundle import find, open_bundle
    from inpaint_server.models.device import choose

    try:
        device = choose(settings.device, settings.dtype)
        bundle = open_bundle(find(settings.bundle, settings.model_dir))
    except InpaintServerError:
        return  # the checks of device and bundle report it
    try:
        # diffusers imports xformers: where that is broken, this import fails.
        from inpaint_server.models.attention import enable_attention
        from inpaint_server.models.loading import load_unet

        found = enable_attention([load_unet(bundle, device)], [], device)
    except (InpaintServerError, ImportError, OSError, ValueError, RuntimeError) as error:
        remedy = f"Mend xformers if it does not work, then try `inpaint-server models verify {bundle.folder}`."
        yield CheckResult(
            subject="attention", result=f"the bundle's UNet does not load ({_line(error)})", remedy=remedy
        )
    else:
        yield CheckResult(subject="attention", result=found)


def _xformers(_: Settings) -> Iterable[CheckResult]:
    """Imports the compiled part, which fails where xformers was built for another torch."""
    import torch

    try:
        version = importlib.metadata.version("xformers")
    except importlib.metadata.PackageNotFoundError:
        yield CheckResult(subject="xformers", result="not installed: PyTorch's own attention is used")
        return
    try:
        ops = importlib.import_module("xformers.ops")
        if torch.cuda.is_available():
            query = torch.zeros(1, 2, 64, device="cuda", dtype=torch.float16)
            ops.memory_efficient_attention(query, query, query)
    except Exception as error:  # noqa: BLE001 - whatever a compiled extension raises, it does not work
        remedy = f"Install the xformers that was built for torch {torch.__version__}, or uninstall it."
        yield CheckResult(subject="xformers", result=f"{version} does not work ({_line(error)})", remedy=remedy)
    else:
        state = "works" if torch.cuda.is_available() else "loads; it is used on CUDA devices only"
        yield CheckResult(subject="xformers", result=f"{version} {state}")


def _signing(settings: Settings) -> Iterable[CheckResult]:
    """Signs a test picture where a certificate is set; otherwise loads the library if it is installed."""
    from inpaint_server.wire.signing import signer

    try:
        sign = signer(settings)
        version = importlib.metadata.version("c2pa-python")
        importlib.import_module("c2pa")
    except InpaintServerError as error:
        yield CheckResult(subject="signing", result="does not work", remedy=error.message)
    except importlib.metadata.PackageNotFoundError:
        yield CheckResult(subject="signing", result="c2pa-python is not installed, and no certificate is set")
    except (ImportError, OSError) as error:
        remedy = "Install the version of c2pa-python in requirements.lock."
        yield CheckResult(subject="signing", result=f"c2pa-python does not load ({_line(error)})", remedy=remedy)
    else:
        state = "loads; no certificate is set" if sign is None else "signs with the certificate that is set"
        yield CheckResult(subject="signing", result=f"c2pa-python {version} {state}")


def _java(settings: Settings) -> Iterable[CheckResult]:
    from inpaint_server.front_door.mms import java_home

    java = java_home(settings) / "bin" / "java"
    try:
        answer = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        yield CheckResult(
            subject="Java",
            result=f"{java} does not run",
            remedy="Unset JAVA_HOME to use the packaged Java, or serve with --direct, which needs none.",
        )
    else:
        yield CheckResult(subject="Java", result=f"{answer.stderr.splitlines()[0]} ({java})")


def _bundle(settings: Settings) -> Iterable[CheckResult]:
    from inpaint_server.models.bundle import find, open_bundle

    try:
        bundle = open_bundle(find(settings.bundle, settings.model_dir))
    except InpaintServerError as error:
        yield CheckResult(subject="bundle", result="none", remedy=error.message)
        return
    size = sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e6
    yield CheckResult(subject="bundle", result=f"{bundle.label}, {size:,.0f} MB, {bundle.folder}")
    try:
        from inpaint_server.models import contents  # diffusers imports xformers: where that is broken, this fails
    except (ImportError, OSError, ValueError, RuntimeError):
        return  # the check of attention reports it
    for problem in contents.problems(bundle.folder):
        yield CheckResult(subject="models", result="the bundle cannot be served", remedy=problem)


def _temporary_folder(_: Settings) -> Iterable[CheckResult]:
    import tempfile

    try:
        free = shutil.disk_usage(Path(tempfile.gettempdir())).free
    except OSError:
        yield CheckResult(
            subject="temporary folder", result="none", remedy="Mount a writable folder and point TMPDIR at it."
        )
    else:
        yield CheckResult(subject="temporary folder", result=f"{tempfile.gettempdir()}, {free / 1e9:.0f} GB free")


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
