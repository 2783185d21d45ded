"""How much memory this machine has, or the container that this process runs in (control groups, versions 1 and 2)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_MOUNT: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A control group with a memory limit, in bytes. Files that the kernel can drop from its cache are not in use."""

    limit: int
    in_use: int


def total_bytes(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int:
    """The machine's memory, or the tightest limit on this process's control groups if that is less.

    Args:
        membership: The kernel's list of the groups of this process.
        mount: Where the groups are mounted.
    """
    return min([psutil.virtual_memory().total, *(group.limit for group in _groups(membership, mount))])


def free_bytes(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int:
    """The memory that can still be taken: the machine's, or what all processes of a control group leave, at least 0."""
    left = (max(0, group.limit - group.in_use) for group in _groups(membership, mount))
    return min([psutil.virtual_memory().available, *left])


def _groups(membership: Path, mount: Path) -> Generator[_Group]:
    """The limited groups of this process and all that contain them; in a container only some of them are visible."""
    lines = membership.read_text().splitlines() if membership.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names, root = ("memory.max", "memory.current", "inactive_file"), mount
        elif controllers == "memory":
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), mount / "memory"
        else:
            continue
        relative = Path(path.lstrip("/"))
        for folder in (relative, *relative.parents):
            if (root / folder / names[0]).is_file():
                yield from _group(root / folder, *names)


def _group(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> Generator[_Group]:
    limit = (folder / limit_name).read_text().strip()
    if limit != "max":
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        usage = int((folder / usage_name).read_text()) - int(counts[cache_name])
        yield _Group(limit=int(limit), in_use=usage)
