"""Every code block of the documentation, run page by page, from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from inpaint_server.catalog.presets import load
from testing.running import Server

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ELSEWHERE = {
    "README.md": "tests/docs/test_readme.py",
    "release.md": "tests/release/test_documents.py",
}
"""Pages whose blocks another test runs, against a mocked cloud."""
LONG_RUNNING = ("inpaint-server serve", "inpaint-server studio")
"""Commands that run until they are stopped: tests/conftest.py and tests/studio start them."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    fenced = re.findall(r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(*found) for found in fenced]


PAGES = sorted((ROOT / "docs").glob("*.md"))
PAGES_TO_RUN = [
    page
    for page in PAGES
    if page.name not in ELSEWHERE
    and any(block.language in {"sh", "python", "toml"} and not block.title for block in blocks(page))
]


@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: page.name)
def test_code_blocks_run_in_order(page: Path, real_server: Server, tmp_path: Path):
    (tmp_path / "src").symlink_to(ROOT / "src")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for block in blocks(page):
        if block.title:
            assert block.title.startswith("Not run by the tests: ")
            continue
        code = block.code.replace("http://localhost:8080", f"http://127.0.0.1:{real_server.port}")
        code = code.replace(".venv/bin/", f"{BIN}/")
        if block.language == "sh" and code.startswith("make "):
            for target in re.findall(r"^make ([\w-]+)$", code, re.MULTILINE):
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
        elif block.language == "sh":
            code = f"{code.rstrip()} --help" if any(command in code for command in LONG_RUNNING) else code
            run(["bash", "-euc", code], tmp_path, environment)
        elif block.language == "python":
            run([sys.executable, "-c", code], tmp_path, environment)
        elif block.language == "toml":
            (tmp_path / "scenes.toml").write_text(code)
            assert set(tomllib.loads(code)) <= set(load(tmp_path / "scenes.toml"))


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"


def test_pages_run_elsewhere_are_named_there():
    for page, test in ELSEWHERE.items():
        assert page in (ROOT / test).read_text()


def test_readme_blocks_are_all_tested():
    known = (
        *("make demo", "make test", "inpaint-server serve", "curl -F", "inpaint-server generate", "invoke_endpoint"),
        "docker build",  # tests/release checks the Dockerfile without a build
        "bundle make",  # tests/models/conversion/test_make.py runs it on small checkpoints
    )
    others = [block.code for block in blocks(ROOT / "README.md") if not any(word in block.code for word in known)]
    assert others == []
