"""Rows through a client: a few at a time, each once, everything on the disk before it counts as done."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image, ImageOps

from inpaint_server.catalog.files import write_whole
from inpaint_server.catalog.journal import Entry, Journal
from inpaint_server.catalog.presets import Presets
from inpaint_server.catalog.requests import RowRequest, file_name, label, row_request
from inpaint_server.catalog.rows import Row
from inpaint_server.client import Client, Result
from inpaint_server.errors import InpaintServerError, Unreachable

_THUMBNAIL: Final = 320
_MAX_UNREACHABLE: Final = 3
"""Rows in a row that cannot connect, each after all its attempts, before the run stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a row.

    Attributes:
        row: The row.
        name: The product's name for a person.
        status: `done`, `failed`, or `waiting`: not tried yet because the run was stopped.
        entry: Its outcome in the journal; the identity is empty if the row gave no request.
        request: The request, pictures left out.
        twin_of: The number of an earlier row with the very same request, whose picture it shares.
    """

    row: Row
    name: str
    status: Literal["done", "failed", "waiting"]
    entry: Entry
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    twin_of: int | None = None


@dataclass(slots=True, eq=False)
class _Claim:
    """An identity that a row of this run works on; others with the same request wait for it."""

    row: int
    over: threading.Event = field(default_factory=threading.Event)
    entry: Entry = field(
        default_factory=lambda: Entry(identity="", reason="The run was stopped.", code=Unreachable.code)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run over a catalogue.

    Attributes:
        client: Sends the requests; it waits and retries.
        journal: The outcomes so far.
        out: The catalogue's folder.
        scenes: By name.
        defaults: Fields of every row without a value of its own.
        stop: Set from anywhere: rows that have not begun stay `waiting`.
    """

    client: Client
    journal: Journal
    out: Path
    scenes: Presets
    defaults: Mapping[str, Any]
    stop: threading.Event = field(default_factory=threading.Event)
    _claims: dict[str, _Claim] = field(default_factory=dict[str, _Claim])
    _unreachable: list[bool] = field(default_factory=list[bool])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, rows: Sequence[Row], *, workers: int, on_outcome: Callable[[Outcome], object]) -> list[Outcome]:
        """Bring every row to its end.

        A server that cannot be reached for several rows in a row stops the run: started again it goes on from there. A
        row whose answer was lost, or that the platform refused, is noted as failed, and the others go on.
        """

        def one(row: Row) -> Outcome:
            outcome = self._one(row)
            on_outcome(outcome)
            return outcome

        with ThreadPoolExecutor(workers, thread_name_prefix="row") as pool:
            futures = [pool.submit(one, row) for row in rows]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, row: Row) -> Outcome:
        name = label(row)
        if self.stop.is_set():
            return Outcome(row=row, name=name, status="waiting", entry=Entry(identity=""))
        try:
            prepared = row_request(row, self.scenes, self.defaults)
        except InpaintServerError as error:
            entry = Entry(identity="", reason=error.message, code=error.code)
            return Outcome(row=row, name=name, status="failed", entry=entry)
        fields = {key: value for key, value in prepared.request.items() if key not in ("image", "mask")}
        first, claim = self._claim(prepared.identity, row.number)
        if not first:
            claim.over.wait()
            entry = claim.entry
        else:
            try:
                entry = claim.entry = self.journal.settled(prepared.identity) or self._send(row, prepared)
            finally:
                claim.over.set()
        status = "waiting" if entry.code == Unreachable.code else "failed" if entry.reason else "done"
        return Outcome(
            row=row, name=name, status=status, entry=entry, request=fields, twin_of=None if first else claim.row
        )

    def _count_unreachable(self, *, reached: bool) -> None:
        """Stop the run once several rows in a row could not connect."""
        with self._lock:
            self._unreachable[:] = [] if reached else [*self._unreachable, True]
            if len(self._unreachable) >= _MAX_UNREACHABLE:
                self.stop.set()

    def _claim(self, identity: str, row: int) -> tuple[bool, _Claim]:
        """Whether this row is the first of the run with this request, and the claim on its picture."""
        with self._lock:
            first = identity not in self._claims
            return first, self._claims.setdefault(identity, _Claim(row=row))

    def _send(self, row: Row, prepared: RowRequest) -> Entry:
        begun = time.monotonic()
        stem = file_name(row, prepared.identity)
        try:
            reply = self.client.send(json.dumps(prepared.request).encode())
            reply.check()
            files, entry = _saved(stem, prepared, Result.from_json(reply.body))
        except Unreachable as error:
            self._count_unreachable(reached=False)
            return Entry(identity=prepared.identity, reason=error.message, code=error.code)
        except InpaintServerError as error:
            files = dict(_thumbnails(stem, prepared.request["image"], []))
            entry = Entry(identity=prepared.identity, reason=error.message, code=error.code, thumbnails=tuple(files))
        self._count_unreachable(reached=True)
        for path, data in files.items():
            write_whole(self.out / path, data)
        entry = entry.model_copy(update={"seconds": round(time.monotonic() - begun, 2)})
        self.journal.add(entry)
        return entry


def _saved(stem: str, prepared: RowRequest, result: Result) -> tuple[dict[str, bytes], Entry]:
    """Every file of a result under its path, and their entry in the journal."""
    many = len(result.pictures) > 1
    pictures = {
        f"adverts/{stem}{f'-{picture.seed}' if many else ''}.{result.format}": picture.data
        for picture in result.pictures
    }
    small = dict(_thumbnails(stem, prepared.request.get("image"), [picture.image for picture in result.pictures]))
    entry = Entry(
        identity=prepared.identity,
        files=tuple(pictures),
        seeds=tuple(picture.seed for picture in result.pictures),
        thumbnails=tuple(small),
        warnings=result.warnings,
    )
    return {**pictures, **small}, entry


def _thumbnails(stem: str, photo: str | None, pictures: Sequence[Image.Image]) -> Iterable[tuple[str, bytes]]:
    """Small JPEGs: the photo (if it can be opened here) and the pictures."""
    try:
        opened = [] if photo is None else [Image.open(io.BytesIO(base64.b64decode(photo)))]
        photos = [ImageOps.exif_transpose(image).convert("RGB") for image in opened]
    except Exception:  # noqa: BLE001 - any parser error on an unknown file: there is no thumbnail
        photos = []
    for number, image in enumerate([*photos, *pictures], start=1 - len(photos)):
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=85)
        yield f"thumbnails/{stem}-{number if number else 'photo'}.jpg", file.getvalue()
