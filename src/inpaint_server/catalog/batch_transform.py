"""The same rows as Batch Transform takes them: one request object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inpaint_server.catalog.orders import label, order
from inpaint_server.catalog.presets import Scenes
from inpaint_server.catalog.rows import Row
from inpaint_server.errors import InpaintServerError


def write_lines(
    rows: Sequence[Row],
    path: Path,
    *,
    scenes: Scenes,
    defaults: Mapping[str, Any],
    on_refused: Callable[[Row, str, str], object],
) -> int:
    """Write every row that can be asked for, in order; gives how many.

    Args:
        rows: The catalogue's.
        path: The file to write.
        scenes: By name.
        defaults: Fields of every row that does not say otherwise.
        on_refused: Told of every other row: it, its name, and the reason.
    """
    written: set[str] = set()
    with path.open("wb") as file:
        for row in rows:
            try:
                asked = order(row, scenes, defaults)
            except InpaintServerError as error:
                on_refused(row, label(row), error.message)
                continue
            if asked.identity not in written:
                written.add(asked.identity)
                file.write(json.dumps(asked.request, separators=(",", ":")).encode() + b"\n")
    return len(written)
