"""Run the notebooks in examples/ against a local server and store what they show: python scripts/run_examples.py."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "examples"
TIMEOUT_S = 300


def main() -> None:
    """Run them in their order, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(FOLDER.glob("*.ipynb")):
            notebook: Any = nbformat.read(path, as_version=4)
            NotebookClient(notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": folder}}).execute()
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)  # times of day
            nbformat.write(notebook, path)
            print(path)


if __name__ == "__main__":
    main()
