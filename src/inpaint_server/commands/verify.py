"""Whether a bundle is complete and undamaged, and its models would load and work together."""

from __future__ import annotations

from pathlib import Path

from inpaint_server.models import manifest as manifests


def problems(folder: Path) -> list[str]:
    """Every problem of the bundle in a folder, a sentence each; what is in its files only where they are complete."""
    found = [f"{problem}." for problem in manifests.verify(folder)]
    if found:
        return found
    from inpaint_server.models import contents  # its libraries take seconds to import

    return contents.problems(folder)


def summary(folder: Path) -> str:
    """Name, version, number of files and size of a bundle without problems."""
    manifest = manifests.read_manifest(folder)
    total = sum(entry.bytes for entry in manifest.files.values())
    return f"{manifest.name} {manifest.version} is whole: {len(manifest.files)} files, {total / 1e6:,.1f} MB."
