"""What the parts find: a line of JSON for each figure, written as it is found; and all of them together as a table."""

from __future__ import annotations

import json
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.figures import Figure, Part
from benchmarks.gpu.processes import Outcome

LINES: Final = "results.jsonl"
_DOCUMENT: Final = "figures.json"
_TABLE: Final = "table.md"


class Record:
    """Where a part writes what it finds; what is written stays, whatever becomes of the part.

    Args:
        part: The part's name.
        out: The folder of the results.

    Attributes:
        failed: Whether something of the part failed.
    """

    def __init__(self, part: str, out: Path) -> None:
        self._part = part
        self._path = out / LINES
        self.failed = False

    def figure(self, name: str, value: float, unit: str, detail: str = "", *, at_most: float | None = None) -> None:
        """Write one figure."""
        found = Figure(name=name, value=value, unit=unit, detail=detail, at_most=at_most)
        self._write(figure=found.model_dump(exclude_none=True))

    def figures(self, found: Sequence[Figure]) -> None:
        """Write several figures."""
        for one in found:
            self._write(figure=one.model_dump(exclude_none=True))

    def remark(self, sentence: str) -> None:
        """Write a sentence for below the table."""
        self._write(remark=sentence)

    def machine(self, about: Mapping[str, str]) -> None:
        """Write what the figures are measured on."""
        self._write(machine=about)

    @contextmanager
    def attempt(self, what: str) -> Generator[None]:
        """Measure something whose failure is recorded and leaves what comes after it to be measured."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest is worth measuring
            traceback.print_exc()
            self.failed = True
            self.remark(f"{what} failed: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}")

    def _write(self, **line: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"part": self._part, **line}) + "\n")


def write(out: Path, command: str, outcomes: Sequence[Outcome]) -> str:
    """Write all that was found so far as `figures.json` and `table.md`; gives the table.

    Args:
        out: The folder with the parts' lines.
        command: The command that is running.
        outcomes: Of the parts so far, in order.
    """
    machine: dict[str, str] = {}
    found = {outcome.part: Part(figures=[]) for outcome in outcomes}
    for line in _lines(out):
        machine.update(line.get("machine", {}))
        part = found.setdefault(line["part"], Part(figures=[]))
        part.figures.extend(Figure.model_validate(line[key]) for key in ("figure",) if key in line)
        part.remarks.extend(f"`{line['part']}`: {line[key]}" for key in ("remark",) if key in line)
    machine["parts"] = ", ".join(map(str, outcomes))
    document = {
        "machine": machine,
        "command": command,
        "parts": {
            outcome.part: {
                "seconds": round(outcome.seconds, 1),
                "failure": outcome.failure,
                **found[outcome.part].model_dump(exclude_none=True, exclude={"series"}),
            }
            for outcome in outcomes
        },
    }
    (out / _DOCUMENT).write_text(json.dumps(document, indent=1) + "\n")
    table = report.table(found, machine, command)
    (out / _TABLE).write_text(table)
    return table


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; a part that was killed may have left half of one."""
    path = out / LINES
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue
