"""`python -m benchmarks gpu`, as far as it goes without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.gpu import run, wheels
from benchmarks.gpu.processes import Part
from testing.running import ROOT

MINUTES = 5.0
HANG = "signal.pause()"
_PART = """
import os, signal, subprocess, sys
with open(sys.argv[1] + "/results.jsonl", "a") as results:
    results.write('{"part": "%s", "figure": {"name": "found by %s", "value": 1, "unit": "s"}}\\n')
"""


def part(name: str, code: str, limit_s: float = 60) -> Part:
    """A part that first finds a figure, and then does as told."""
    return Part(name=name, command=(sys.executable, "-c", _PART % (name, name) + code), limit_s=limit_s)


def measure(out: Path, *parts: Part, minutes: float = MINUTES) -> dict[str, Any]:
    """Run parts, each with the results' folder as an argument; what `figures.json` says of them."""
    given = [Part(name=one.name, command=(*one.command, str(out)), limit_s=one.limit_s) for one in parts]
    run.measure(given, out=out, minutes=minutes, command="test")
    return json.loads((out / "figures.json").read_text())["parts"]


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("raise ValueError('no kernel')", "ValueError: no kernel"),
        (HANG, "killed at its limit"),
    ],
    ids=["dies", "fails", "hangs"],
)
def test_part_that_goes_wrong_loses_nothing(tmp_path: Path, code: str, failure: str):
    parts = measure(tmp_path, part("first", ""), part("wrong", code, limit_s=5), part("last", ""))
    assert failure in parts["wrong"]["failure"]
    assert [parts[name]["failure"] for name in ("first", "last")] == ["", ""]
    table = (tmp_path / "table.md").read_text()
    for name in parts:
        assert [figure["name"] for figure in parts[name]["figures"]] == [f"found by {name}"]
        assert f"found by {name}" in table
    assert failure in table


def test_hanging_part_takes_its_server_with_it(tmp_path: Path):
    """Even one in a session of its own, which would keep the device's memory."""
    server = "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], start_new_session=True)"
    report = f"open(sys.argv[1] + '/pid', 'w').write(str({server}.pid)); {HANG}"
    measure(tmp_path, part("hangs", report, limit_s=5))
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_minutes_bound_all_parts(tmp_path: Path):
    parts = measure(tmp_path, part("hangs", HANG), part("late", ""), minutes=4 / 60)
    assert parts["hangs"]["failure"] == "killed at its limit of 4 s"
    assert parts["late"]["failure"].startswith("not begun")
    assert parts["late"]["figures"] == []


def test_parts_find_packages_of_wheels(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "travelled-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("travelled.py", "")
    with wheels.on_path(tmp_path):
        parts = measure(tmp_path / "out", part("imports", "import travelled"))
    assert parts["imports"]["failure"] == ""


def test_command_runs_in_bare_checkout(tmp_path: Path):
    """With nothing but `src`, `tests` and `benchmarks`, and a working folder elsewhere."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    for folder in ("src", "tests", "benchmarks"):
        (checkout / folder).symlink_to(ROOT / folder)
    command = [sys.executable, "-m", "benchmarks", "gpu", "cuda_tests", "rows", "--device", "cpu", "--small"]
    environment = {**os.environ, "PYTHONPATH": f"{checkout / 'src'}:{checkout}", "PATH": ""}
    done = subprocess.run(
        [*command, "--out", "results"], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    log = (elsewhere / "results" / "log.txt").read_text()
    assert done.returncode == 0, done.stderr + log
    found = json.loads((elsewhere / "results" / "figures.json").read_text())["parts"]
    assert found["cuda_tests"]["figures"][0]["value"] == 0
    assert "UNet call, 2 rows, sdpa, eager" in [figure["name"] for figure in found["rows"]["figures"]]
    assert any("CUDA graphs" in remark for remark in found["rows"]["remarks"])
    assert "UNet call, 2 rows, sdpa, eager" in done.stdout
