"""The catalogue's file: a table, JSON Lines or a folder of photos becomes rows of named values."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inpaint_server.catalog.tables import read_grid, read_json_lines, read_workbook
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.schema import InvocationRequest

_PHOTOS: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".mpo", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif"}
)
_ALIASES: Final = {"image": "photo", "prompt_bg": "background_prompt", "prompt_fr": "foreground_prompt"}
_TEXT_FIELDS: Final = frozenset({"background_prompt", "foreground_prompt", "negative_prompt", "mask"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "off", "0", "0.0"), False),
}
_DECIMAL_COMMA: Final = re.compile(r"([+-]?\d+),(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One product.

    Attributes:
        number: From 1, as a person counts the products of the file.
        folder: Where the paths in its columns start.
        columns: Their values by column name, empty cells left out.
        problem: Why the row cannot be read; empty where it can.
    """

    number: int
    folder: Path
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str = ""


def read(source: Path) -> list[Row]:
    """Every row of a table or JSON Lines file, or of a folder of photos (one a photo, in the order of their names).

    Raises:
        InvalidRequest: the file is of another kind, cannot be read, has two columns of one name, or holds no row.
    """
    if source.is_dir():
        rows = list(_read_folder(source))
    elif reader := _READERS.get(source.suffix.lower()):
        rows = list(reader(source))
    else:
        raise InvalidRequest(f"Give a folder of photos or a file of the kinds {', '.join(_READERS)}, not {source}.")
    if not rows:
        raise InvalidRequest(f"There is no product in {source}: add a row, or a photo.")
    return rows


def column_name(heading: str) -> str:
    """The name of a column: `Background Prompt` and `background-prompt` are `background_prompt`, `Image` is `photo`."""
    name = re.sub(r"[\s\-]+", "_", heading.strip().casefold())
    return _ALIASES.get(name, name)


def cell_value(column: str, text: str) -> Any:
    """The value of a cell: a number, boolean, list or object where the column is such a field, else the text itself."""
    known = InvocationRequest.model_fields.get(column)
    if known is None or column in _TEXT_FIELDS:
        return text
    if "bool" in str(known.annotation) and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    try:
        value: Any = json.loads(_DECIMAL_COMMA.sub(r"\1.\2", text) if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return text
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_text(source: Path) -> Iterator[Row]:
    return _read_table(read_grid(source), source)


def _read_workbook(source: Path) -> Iterator[Row]:
    return _read_table(read_workbook(source), source)


def _read_table(grid: Sequence[Sequence[str]], source: Path) -> Iterator[Row]:
    """Rows of a table below its heading; a column without one, such as a data frame's index, is skipped."""
    names = [column_name(heading) for heading in grid[0]] if grid else []
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise InvalidRequest(f"Keep one column `{twice[0]}`: two headings of {source} have this meaning.")
    for number, cells in enumerate(grid[1:], start=1):
        if any(cells[len(names) :]):
            problem = "Quote cells that contain the delimiter: the row has more cells than the heading."
            yield Row(number=number, folder=source.parent, problem=problem)
            continue
        filled = {name: cell_value(name, text) for name, text in zip(names, cells, strict=False) if name and text}
        yield Row(number=number, folder=source.parent, columns=filled)


def _read_lines(source: Path) -> Iterator[Row]:
    for number, line in enumerate(read_json_lines(source), start=1):
        if isinstance(line, str):
            yield Row(number=number, folder=source.parent, problem=line)
        else:
            columns = {column_name(name): value for name, value in line.items() if value is not None}
            yield Row(number=number, folder=source.parent, columns=columns)


def _read_folder(source: Path) -> Iterator[Row]:
    photos = sorted(
        path for path in source.iterdir() if path.suffix.lower() in _PHOTOS and not path.name.startswith(".")
    )
    for number, path in enumerate(photos, start=1):
        yield Row(number=number, folder=source, columns={"photo": path.name})


_READERS: Final[Mapping[str, Callable[[Path], Iterator[Row]]]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), _read_text),
    **dict.fromkeys((".xlsx", ".xlsm"), _read_workbook),
    **dict.fromkeys((".jsonl", ".ndjson"), _read_lines),
}
