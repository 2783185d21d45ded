"""The same rows as Batch Transform takes them: one request object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inpaint_server.catalog.presets import Presets
from inpaint_server.catalog.requests import label, row_request
from inpaint_server.catalog.rows import Row
from inpaint_server.errors import InpaintServerError


def write_lines(
    rows: Sequence[Row],
    path: Path,
    *,
    scenes: Presets,
    defaults: Mapping[str, Any],
    on_refused: Callable[[Row, str, str], object],
) -> int:
    """Write every valid row, in order; returns how many.

    Args:
        rows: The catalogue's.
        path: The file to write.
        scenes: By name.
        defaults: Fields of every row without a value of its own.
        on_refused: Told of every other row: it, its name, and the reason.
    """
    written: set[str] = set()
    with path.open("wb") as file:
        for row in rows:
            try:
                valid = row_request(row, scenes, defaults)
            except InpaintServerError as error:
                on_refused(row, label(row), error.message)
                continue
            if valid.identity not in written:
                written.add(valid.identity)
                file.write(json.dumps(valid.request, separators=(",", ":")).encode() + b"\n")
    return len(written)
