"""The Java that is checked in compiled: classes and jar are those of the sources."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from inpaint_server.front_door import mms

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_plugin.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def record() -> dict[str, Any]:
    return json.loads((mms.PLUGIN / "digests.json").read_text())


def test_java_digests_match_sources_and_classes(script: dict[str, Any]):
    assert script["digests"](mms.PLUGIN) == record()["sha256"], "run scripts/build_plugin.py"


@pytest.mark.parametrize("name", ["plugin.jar", "src/inpaint_server/front_door/PingEndpoint.java"])
def test_java_digests_differ_after_change(script: dict[str, Any], tmp_path: Path, name: str):
    copy = Path(shutil.copytree(mms.PLUGIN, tmp_path / "java"))
    with (copy / name).open("ab") as file:
        file.write(b" ")
    changed = script["digests"](copy)
    assert {path for path, digest in changed.items() if digest != record()["sha256"][path]} == {name}


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK here")
def test_java_rebuild_is_identical(script: dict[str, Any], tmp_path: Path):
    if script["compiler"]() != record()["compiler"]:
        pytest.skip(f"built with {record()['compiler']}: another compiler may write other bytes")
    script["build"](tmp_path)
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert built == {path: (mms.PLUGIN / path).read_bytes() for path in built}
    assert {path.name for path in built} == {"plugin.jar", "ServerInitializer.class", "ModelResponseDecoder.class"}
