"""Import directions, a light command line, and documents that agree with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from inpaint_server import __version__
from inpaint_server.settings import Settings, variable_name
from inpaint_server.wire.schema import InvocationRequest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
HEAVY = {
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "segment_anything",
    "numpy",
    "PIL",
    "pydantic",
    "starlette",
}


def test_import_contracts_hold():
    checked = subprocess.run([BIN / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_help_imports_nothing_heavy():
    imports = subprocess.run(
        [sys.executable, "-X", "importtime", BIN / "inpaint-server", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Product photo and a few words" in imports.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in imports.stderr.splitlines()}
    assert imported & HEAVY == set()


def test_version_names_commit():
    completed = subprocess.run(
        [BIN / "inpaint-server", "--version"],
        env={**os.environ, "INPAINT_REVISION": "66e5ef0b075e"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout == f"{__version__}, commit 66e5ef0b075e\n"


def test_handler_and_supervisor_import_no_torch():
    modules = "inpaint_server.front_door.handler, inpaint_server.front_door.supervisor"
    program = f"import sys, {modules}; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_readme_lists_every_field():
    table = (ROOT / "README.md").read_text().partition("## The request")[2].partition("\n## ")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named - {"prompt_bg", "prompt_fr"} == set(InvocationRequest.model_fields)


def test_operating_page_describes_every_setting():
    table = (ROOT / "docs" / "operating.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| `")]
    described = {row[0].strip("`"): row[-1] for row in rows}
    assert described == {variable_name(name): field.description for name, field in Settings.model_fields.items()}


def test_changelog_version_is_package_version():
    newest = re.search(r"^## (\S+) - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_make_help_lists_every_target():
    # Under `make test` this make is a second level, which prints the folders it enters unless it is silenced.
    command = ["make", "--no-print-directory", "help"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in listed] == targets
    assert all(line.endswith(".") for line in listed)


def test_document_links_resolve():
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert missing == []


def test_promises_name_existing_checks():
    rows = [row for row in (ROOT / "docs" / "promises.md").read_text().splitlines() if row.startswith("| ")]
    promised = [row for row in rows if not row.startswith(("| promise |", "| --- |"))]
    checks = [re.findall(r"`((?:tests/|python |make )[^`]*)`", row.rpartition(" | ")[2]) for row in promised]
    assert [row for row, row_checks in zip(promised, checks, strict=True) if not row_checks] == []
    assert [check for row_checks in checks for check in row_checks if not _exists(check)] == []


def _exists(check: str) -> bool:
    """Whether this test or command exists."""
    if check.startswith("make "):
        return re.search(rf"^{check.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None
    if check.startswith("python -m "):
        return (ROOT / f"{check.split()[2].replace('.', '/')}.py").exists()
    if check.startswith("python "):
        return (ROOT / check.split()[1]).exists()
    file, _, name = check.partition("::")
    return (ROOT / file).exists() and f"\ndef {name}(" in (ROOT / file).read_text()
