"""`inpaint-server catalog`: its options, and what it prints while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from inpaint_server.catalog import batch_transform, report
from inpaint_server.catalog.journal import Journal
from inpaint_server.catalog.presets import Presets
from inpaint_server.catalog.requests import check_columns
from inpaint_server.catalog.rows import Row, cell_value, read
from inpaint_server.catalog.work import Outcome, Work
from inpaint_server.client import Client, Retry
from inpaint_server.errors import InvalidRequest, Unreachable
from inpaint_server.wire.schema import InvocationRequest

_PATIENT_S: Final = 3600.0
_STEADY: Final = Retry(attempts=10, longest_wait_s=60.0)
_SHOWN_FAILURES: Final = 20
_COLUMNS: Final = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[failed]} failed"),
    TimeRemainingColumn(),
)


def defaults(settings: Sequence[str], **given: str | None) -> dict[str, Any]:
    """Fields of every row: `FIELD=VALUE` texts, read as a table's cells are, and those with an option of their own.

    Raises:
        InvalidRequest: a text holds no `=`, or names no field.
    """
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign or name not in InvocationRequest.model_fields:
            raise InvalidRequest(
                f"Write --set FIELD=VALUE with a request's field, as in --set width=512, not '{text}'."
            )
        fields[name] = cell_value(name, value)
    return fields


def run(
    source: Path,
    out: Path,
    *,
    client: Callable[[], Client],
    known: Presets,
    fields: Mapping[str, Any],
    workers: int,
) -> list[Outcome]:
    """Make every advert of a catalogue that is still missing, and the report; returns each row's outcome.

    Raises:
        InvalidRequest: the catalogue cannot be read, one of its columns is misspelt, or another run works in `out`.
    """
    rows = read(source)
    check_columns(rows, known, fields)
    console = Console()
    with Journal(out) as journal, client() as opened, Progress(*_COLUMNS, console=console) as progress:
        bar = progress.add_task("adverts", total=len(rows), failed=0)
        failed = 0

        def show(outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.status == "failed"
            progress.update(bar, advance=outcome.status != "waiting", failed=failed)

        work = Work(client=opened, journal=journal, out=out, scenes=known, defaults=fields)
        outcomes = work.run(rows, workers=workers, on_outcome=show)
    page = report.write(outcomes, out, source.name)
    _print(console, outcomes, page)
    return outcomes


def write_lines(source: Path, path: Path, *, known: Presets, fields: Mapping[str, Any]) -> bool:
    """Write the catalogue for Batch Transform; whether every row is in it."""
    rows = read(source)
    check_columns(rows, known, fields)
    console = Console()
    refused: list[tuple[int, str, str]] = []

    def note(row: Row, name: str, reason: str) -> None:
        refused.append((row.number, name, reason))

    lines = batch_transform.write_lines(rows, path, scenes=known, defaults=fields, on_refused=note)
    console.print(f"{path}: {lines} lines, {path.stat().st_size / 1e6:,.1f} MB, {len(refused)} failed", highlight=False)
    _print_failures(console, refused)
    return not refused


def target(endpoint: str | None, bundle: str | None) -> Callable[[], Client]:
    """A client for a URL, an endpoint's name or, without either, models loaded in this process."""

    def reach() -> Client:
        if endpoint is not None:
            return Client(endpoint, timeout_s=_PATIENT_S, retry=_STEADY)
        from inpaint_server.server.local import LocalEngine
        from inpaint_server.settings import read as read_settings

        return Client(LocalEngine(read_settings(bundle=bundle)), retry=_STEADY)

    return reach


def _print(console: Console, outcomes: Sequence[Outcome], page: Path) -> None:
    failures = [(o.row.number, o.name, o.entry.reason) for o in outcomes if o.status == "failed"]
    _print_failures(console, failures)
    stopped = next((o.entry.reason for o in outcomes if o.entry.code == Unreachable.code and o.entry.reason), "")
    if stopped:
        console.print(f"{stopped} The run stopped: give the same command again to go on.", highlight=False)
    console.print(f"{report.count(outcomes)}: {page}", highlight=False, soft_wrap=True)


def _print_failures(console: Console, failures: Sequence[tuple[int, str, str]]) -> None:
    if not failures:
        return
    table = Table("row", "product", "reason", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for number, name, reason in failures[:_SHOWN_FAILURES]:
        table.add_row(str(number), name, reason)
    console.print(table, highlight=False, markup=False)
    if len(failures) > _SHOWN_FAILURES:
        console.print(f"... and {len(failures) - _SHOWN_FAILURES} more in the report.")
