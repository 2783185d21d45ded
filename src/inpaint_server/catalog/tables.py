"""Tables as spreadsheets and scripts write them: any common encoding and delimiter, Excel workbooks, JSON Lines."""

from __future__ import annotations

import csv
import datetime as dt
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from inpaint_server.errors import InvalidRequest

_DELIMITERS: Final = ",;\t|"


def read_grid(source: Path) -> list[list[str]]:
    """The cells of a delimited text file as text, the heading first, blank lines left out.

    UTF-8, UTF-16 (Excel's "Unicode text") and Windows-1252 are recognised, and commas, semicolons, tabs and bars, by
    the line `sep=;` that Excel reads or else by the heading.

    Raises:
        InvalidRequest: the file is no text, or a quote is not closed.
    """
    text = _decode(source)
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep="):
        delimiter, text = first.strip()[4:5] or ",", rest
    else:
        delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
        ]
    except csv.Error as error:
        raise InvalidRequest(f"Correct the table {source}: {error}.") from None
    return [row for row in rows if any(row)]


def read_workbook(source: Path) -> list[list[str]]:
    """The cells of an Excel workbook's first sheet as text, the heading first, blank rows left out.

    Raises:
        InvalidRequest: the file is no workbook, or is protected by a password.
    """
    try:
        workbook = openpyxl.load_workbook(source, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError):
        raise InvalidRequest(f"Save {source} as an Excel workbook (.xlsx) without a password, or as CSV.") from None
    try:
        sheets = workbook.worksheets[:1]
        rows = [[_as_text(value) for value in row] for sheet in sheets for row in sheet.iter_rows(values_only=True)]
    finally:
        workbook.close()
    return [row for row in rows if any(row)]


def read_json_lines(source: Path) -> Iterator[dict[str, Any] | str]:
    """Each line's object, or one sentence with the reason why it is invalid; blank lines are left out.

    Raises:
        InvalidRequest: the file is no text.
    """
    for line in filter(str.strip, _decode(source).split("\n")):
        try:
            value: object = json.loads(line)
        except ValueError as error:
            yield f"Correct the JSON in the line: {error}."
            continue
        yield cast("dict[str, Any]", value) if isinstance(value, dict) else "Write a JSON object in the line."


def _decode(source: Path) -> str:
    """The text of a file in the encodings that spreadsheets write."""
    data = source.read_bytes()
    utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise InvalidRequest(f"Save {source} as UTF-8 text: its characters cannot be read.")


def _as_text(value: object) -> str:
    """A workbook's cell as a person reads it there."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    return str(value).strip()
