"""The notebooks, run one after the other against a real server, as somebody who reads them does."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "examples"
NAMES = ("1-host", "2-generate", "3-clean-up")
LARGEST = 400_000  # a page that a browser shows at once


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # pyright: ignore[reportUnknownMemberType]


def pictures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/jpeg" in output.get("data", {}) or "image/png" in output.get("data", {}) for output in outputs)


# ipykernel and jupyter-client warn about each other's older names.
@pytest.mark.filterwarnings("default")
def test_they_host_generate_and_clean_up(tmp_path: Path):
    notebooks = {name: read(name) for name in NAMES}
    try:
        for name, notebook in notebooks.items():
            NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
            assert (tmp_path / "place.json").exists() == (name != "3-clean-up")
    finally:
        stop_what_is_left(tmp_path / "place.json")
    assert pictures(notebooks["2-generate"]) == 7
    log = (tmp_path / "server.log").read_text()
    assert '"event": "drained"' in log
    assert '"finished": true' in log


def stop_what_is_left(place: Path) -> None:
    if place.exists():
        os.kill(json.loads(place.read_text())["pid"], signal.SIGTERM)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_was_run_and_is_small(name: str):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
