"""The outcome of a catalogue: a table for spreadsheets, JSON for programs, a page for people."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jinja2

from inpaint_server.catalog.files import write_whole
from inpaint_server.catalog.work import Outcome

_COLUMNS: Final = ("row", "name", "photo", "status", "reason", "code", "files", "seeds", "seconds", "same_as_row")
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(outcomes: Sequence[Outcome], out: Path, title: str) -> Path:
    """Write `report.csv`, `report.json` and `report.html`; gives the page's path."""
    rows = [_as_object(outcome) for outcome in outcomes]
    write_whole(
        out / "report.csv", _as_csv(rows).encode("utf-8-sig")
    )  # without the mark Excel takes it for Windows-1252
    write_whole(out / "report.json", json.dumps(rows, indent=2).encode())
    write_whole(out / "report.html", _as_page(outcomes, title).encode())
    return out / "report.html"


def count(outcomes: Sequence[Outcome]) -> str:
    """`45 adverts, 5 failed`, and how many are still to do."""
    counted = Counter(outcome.status for outcome in outcomes)
    pictures = sum(len(o.entry.files) for o in outcomes if o.status == "done" and o.twin_of is None)
    parts = [
        f"{pictures} advert{'' if pictures == 1 else 's'}",
        f"{counted['failed']} failed",
        *([f"{counted['waiting']} still to do"] if counted["waiting"] else []),
    ]
    return ", ".join(parts)


def _as_object(outcome: Outcome) -> dict[str, Any]:
    entry = outcome.entry
    return {
        "row": outcome.row.number,
        "name": outcome.name,
        "photo": str(outcome.row.columns.get("photo", "")),
        "status": outcome.status,
        "reason": entry.reason,
        "code": entry.code,
        "files": list(entry.files),
        "seeds": list(entry.seeds),
        "seconds": entry.seconds,
        "same_as_row": outcome.twin_of,
        "warnings": list(entry.warnings),
        "request": dict(outcome.request),
    }


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(row[name]) for name in _COLUMNS] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    """A value as a spreadsheet's cell; text that would begin a formula there is quoted (OWASP, CSV injection)."""
    if isinstance(value, list):
        return _cell(" ".join(map(str, value)))  # pyright: ignore[reportUnknownArgumentType]
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _as_page(outcomes: Sequence[Outcome], title: str) -> str:
    template = jinja2.Template(
        Path(__file__).with_name("report.html").read_text(encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return template.render(title=title, counted=count(outcomes), outcomes=outcomes)
