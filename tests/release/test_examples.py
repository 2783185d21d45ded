"""The notebooks, run one after the other against a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from scripts import run_examples

NOTEBOOKS = sorted(run_examples.FOLDER.glob("*.ipynb"))
LARGEST = 400_000  # bytes: a page that a browser shows at once


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.timeout(900)  # seven pictures on a processor
@pytest.mark.filterwarnings("default")  # ipykernel and jupyter-client warn about each other's older names
def test_notebooks_host_generate_and_clean_up(tmp_path: Path):
    host, generate, clean_up = run_examples.run(tmp_path).values()
    data = [output.get("data", {}) for output in outputs(generate)]
    assert sum("image/jpeg" in item or "image/png" in item for item in data) == 7
    assert "its address is in place.json" in outputs(host)[0].text
    assert "Nothing runs any more" in outputs(clean_up)[0].text
    assert not (tmp_path / "place.json").exists()
    log = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines() if line.startswith("{")]
    assert [line["finished"] for line in log if line["event"] == "drained"] == [True]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebook_was_run_and_is_small(path: Path):
    assert path.stat().st_size < LARGEST
    notebook: Any = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
