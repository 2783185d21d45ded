"""Run the notebooks in examples/ against a local server and store their outputs: python scripts/run_examples.py."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

FOLDER: Final = Path(__file__).parents[1] / "examples"
TIMEOUT_S: Final = 600


def main() -> None:
    """Run them in a temporary folder, and store them."""
    with tempfile.TemporaryDirectory() as folder:
        for path, notebook in run(Path(folder)).items():
            nbformat.write(notebook, path)
            print(path)


def run(folder: Path) -> dict[Path, Any]:
    """The notebooks in their order, run in a folder; the server that the first one starts is always stopped."""
    notebooks: dict[Path, Any] = {path: nbformat.read(path, as_version=4) for path in sorted(FOLDER.glob("*.ipynb"))}
    try:
        for notebook in notebooks.values():
            client = NotebookClient(notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(folder)}})
            client.execute()
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)  # times of day
    finally:
        place = folder / "place.json"  # the last notebook removes it
        if place.exists():
            with suppress(ProcessLookupError):
                os.kill(json.loads(place.read_text())["pid"], signal.SIGTERM)
    return notebooks


if __name__ == "__main__":
    main()
