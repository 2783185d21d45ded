"""`inpaint-server doctor` on machines where an optional library is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("inpaint-server")


def doctor(*, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, filter(None, (path, os.environ.get("PYTHONPATH")))))
    return subprocess.run(
        [PROGRAM, "doctor", "--bundle", "demo"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", **environment},
        timeout=120,
    )


def install(folder: Path, name: str, version: str, modules: dict[str, str]) -> None:
    """A package as pip leaves it, found before any other of its name."""
    package = folder / name
    package.mkdir()
    for module, source in modules.items():
        (package / module).write_text(source)
    (folder / f"{name}-{version}.dist-info").mkdir()
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")


def test_healthy_machine_needs_nothing():
    result = doctor()
    assert result.returncode == 0, result.stdout
    assert "!!" not in result.stdout
    assert "ok  attention: sdpa" in result.stdout


def test_xformers_built_for_another_torch_is_reported(tmp_path: Path):
    fails = "raise ImportError('undefined symbol: _ZN5torch')"
    install(tmp_path, "xformers", "0.0.99", {"__init__.py": "", "ops.py": fails})
    result = doctor(path=tmp_path)
    assert result.returncode == 1
    assert "!!  xformers: 0.0.99 does not work (undefined symbol: _ZN5torch)" in result.stdout
    assert "Install the xformers that was built for torch" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_unusable_certificate_is_reported(tmp_path: Path):
    certificate = tmp_path / "chain.pem"
    certificate.write_text("no certificate")
    result = doctor(INPAINT_SIGN_CERTIFICATE=str(certificate), INPAINT_SIGN_KEY=str(certificate))
    assert result.returncode == 1
    assert "!!  signing: does not work" in result.stdout
