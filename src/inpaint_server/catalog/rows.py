"""The catalogue's file: a table, JSON Lines or a folder of photos becomes rows of named values."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from inpaint_server.errors import InvalidRequest

_TEXT_COLUMNS: Final = frozenset(
    {"background_prompt", "foreground_prompt", "prompt_bg", "prompt_fr", "negative_prompt"}
)
_PHOTOS: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One product.

    Attributes:
        number: From 1, as a person counts the products of the file.
        folder: Where the paths in its columns start.
        columns: Their values by column, empty cells left out.
        problem: Why the row cannot be read; empty where it can.
    """

    number: int
    folder: Path
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str = ""


def read(source: Path) -> list[Row]:
    """Every row of a `.csv` or `.jsonl` file, or of a folder of photos (one a photo, in the order of their names).

    Raises:
        InvalidRequest: the file is of another kind, is not text, or holds no row.
    """
    reader = _read_folder if source.is_dir() else _READERS.get(source.suffix.lower())
    if reader is None:
        raise InvalidRequest(f"Give a .csv or .jsonl file, or a folder of photos: {source} is none of them.")
    try:
        rows = list(reader(source))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"Save {source} as UTF-8 text: {error}.") from None
    if not rows:
        raise InvalidRequest(f"There is no product in {source}: add a row, or a PNG, JPEG or WebP photo.")
    return rows


def cell_value(column: str, text: str) -> Any:
    """A cell's value: a prompt as it stands, anything else as JSON where it is JSON."""
    if column in _TEXT_COLUMNS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_csv(source: Path) -> Iterator[Row]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        for number, cells in enumerate(csv.DictReader(file), start=1):
            if None in cells:
                yield Row(
                    number=number, folder=source.parent, problem="Quote cells with commas: the row has too many cells."
                )
                continue
            columns = {
                name.strip(): cell_value(name.strip(), text.strip())
                for name, text in cells.items()
                if text and text.strip()
            }
            yield Row(number=number, folder=source.parent, columns=columns)


def _read_lines(source: Path) -> Iterator[Row]:
    lines = (line for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    for number, line in enumerate(lines, start=1):
        try:
            columns: object = json.loads(line)
        except ValueError as error:
            yield Row(number=number, folder=source.parent, problem=f"Correct the JSON in the line: {error}.")
            continue
        if not isinstance(columns, dict):
            yield Row(number=number, folder=source.parent, problem="Write a JSON object in the line.")
            continue
        present = {name: value for name, value in cast("dict[str, Any]", columns).items() if value is not None}
        yield Row(number=number, folder=source.parent, columns=present)


def _read_folder(source: Path) -> Iterator[Row]:
    photos = sorted(path for path in source.iterdir() if path.suffix.lower() in _PHOTOS)
    for number, path in enumerate(photos, start=1):
        yield Row(number=number, folder=source, columns={"photo": path.name})


_READERS: Final = {".csv": _read_csv, ".jsonl": _read_lines}
