"""The outcomes so far, one line per row, append-only: an interrupted run continues from here."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from inpaint_server.errors import InvalidRequest


class Entry(BaseModel):
    """The outcome of a request.

    Attributes:
        identity: The order's.
        files: The pictures, relative to the catalogue's folder; none where it failed.
        seeds: What each was drawn from.
        thumbnails: Small JPEGs of the photo and of each picture, relative likewise.
        warnings: The server's.
        seconds: From the first attempt to the last byte.
        reason: Why there is no picture; empty where there is one.
        code: The error's code.
    """

    model_config = ConfigDict(frozen=True)

    identity: str
    files: tuple[str, ...] = ()
    seeds: tuple[int | None, ...] = ()
    thumbnails: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    reason: str = ""
    code: str = ""

    @property
    def settled(self) -> bool:
        """Whether repeating the request would change nothing: its pictures exist, or the request itself is invalid."""
        return not self.reason or self.code in _OWN_FAULT


_OWN_FAULT: Final = frozenset({"invalid_request", "too_large", "not_acceptable", "unsupported_media_type"})


class Journal:
    """The journal of one folder, held by one process at a time.

    Raises:
        InvalidRequest: another process works in this folder.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = (folder / "journal.jsonl").open("ab+")
        self._lock = threading.Lock()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InvalidRequest(f"Wait for the other run to end: it works in {folder} too.") from None
        self._entries = self._read()

    def settled(self, identity: str) -> Entry | None:
        """A request's outcome in this run or an earlier one, if it need not be sent again."""
        with self._lock:
            entry = self._entries.get(identity)
        there = entry is not None and entry.settled and all((self._folder / name).exists() for name in entry.files)
        return entry if there else None

    def add(self, entry: Entry) -> None:
        """Record the outcome of a request; when this returns, it is on the disk."""
        with self._lock:
            self._file.write(entry.model_dump_json(exclude_defaults=True).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._entries[entry.identity] = entry

    def _read(self) -> dict[str, Entry]:
        """Every complete line; an incomplete last one, left by a crash, is ended so that the next line is intact."""
        self._file.seek(0)
        text = self._file.read()
        if text and not text.endswith(b"\n"):
            self._file.write(b"\n")
        entries: dict[str, Entry] = {}
        for line in text.splitlines():
            try:
                entry = Entry.model_validate(json.loads(line))
            except (ValueError, ValidationError):
                continue
            entries[entry.identity] = entry
        return entries

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
