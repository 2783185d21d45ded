"""Where a checkpoint is: a file, a folder, a repository in the hub's cache, or a name on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion import hub

_COMMIT: Final = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint that was found.

    Attributes:
        path: Its file or folder on this machine.
        name: What the manifest calls it: the repository's name, or the file's or folder's own without what is above it.
        revision: The commit, where it is a repository's.
    """

    path: Path
    name: str
    revision: str | None = None


def find(given: str, select: Callable[[list[str]], list[str]]) -> Source:
    """Find a checkpoint; one on the hub is downloaded unless it is in the hub's cache.

    Args:
        given: A path, or a name on the hub: `OWNER/NAME`, with `/FILE` and `@REVISION` after it where they matter.
        select: Of the names of all files in a repository, those to download.

    Raises:
        BundleError: there is no such file, folder or repository.
    """
    path = Path(given).expanduser()
    if not path.exists() and not path.is_symlink():
        name = hub.parse(given)
        if name is None:
            raise BundleError(
                f"{given} is no file or folder here, nor a name on the hub (OWNER/NAME): check its spelling."
            )
        found, commit = hub.fetch(name, select)
        return Source(path=found, name=str(name), revision=commit)
    if not (path / "snapshots").is_dir():
        return _local(path)
    return _local(_snapshot(path))


def _local(path: Path) -> Source:
    """A file or folder; one inside the hub's cache is known by its repository and commit."""
    absolute = path.absolute()
    for folder in (absolute, *absolute.parents):
        if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):
            repository = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
            inner = absolute.relative_to(folder).as_posix()
            name = repository if inner == "." else f"{repository}/{inner}"
            return Source(path=path, name=name, revision=folder.name)
    return Source(path=path, name=absolute.name)


def _snapshot(repository: Path) -> Path:
    """The snapshot that `main` of a repository in the hub's cache points to, else the only one there is."""
    main = repository / "refs" / "main"
    snapshots = sorted((repository / "snapshots").iterdir())
    if main.is_file() and (named := repository / "snapshots" / main.read_text().strip()) in snapshots:
        return named
    if len(snapshots) != 1:
        raise BundleError(f"{repository} holds {len(snapshots)} snapshots and no `main`: give one of its snapshots/.")
    return snapshots[0]
