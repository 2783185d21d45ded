"""Compile the front door's Java into what the package carries: a jar, replaced classes, and a file of digests.

Needs a JDK (`javac`): python scripts/build_plugin.py
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import zipfile
from pathlib import Path

import mms

FOLDER = Path(__file__).parents[1] / "src" / "inpaint_server" / "front_door" / "java"
SOURCES = FOLDER / "src"
REPLACED = Path("com/amazonaws")
"""Classes here replace the model server's own of the same names by coming first on the class path, the jar last."""


def compiler() -> str:
    """The compiler's name and version: another one may write other bytes for the same sources."""
    return subprocess.run(["javac", "-version"], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every source and every built file in the folder, by path."""
    files = [*(folder / "src").rglob("*"), *folder.rglob("*.class"), folder / "plugin.jar"]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file()
    }


def build(target: Path) -> None:
    """Write the jar (compiled classes and the list of services, without dates) and the replaced classes.

    Args:
        target: The folder they are written to.
    """
    server = Path(mms.__file__).parent / "frontend" / "model-server.jar"
    with tempfile.TemporaryDirectory() as classes:
        options = ["--release", "8", "-Xlint:-options", "-g:none", "-cp", str(server), "-d", classes]
        subprocess.run(["javac", *options, *map(str, sorted(SOURCES.rglob("*.java")))], check=True)  # noqa: S603, S607
        files = {path.relative_to(classes): path for path in Path(classes).rglob("*.class")}
        for name in [name for name in files if name.is_relative_to(REPLACED)]:
            replacement = target / "first" / name
            replacement.parent.mkdir(parents=True, exist_ok=True)
            replacement.write_bytes(files.pop(name).read_bytes())
        services = {path.relative_to(SOURCES): path for path in (SOURCES / "META-INF").rglob("*") if path.is_file()}
        with zipfile.ZipFile(target / "plugin.jar", "w") as archive:
            for name, path in sorted((files | services).items()):
                archive.writestr(zipfile.ZipInfo(name.as_posix()), path.read_bytes())


if __name__ == "__main__":
    build(FOLDER)
    record = {"compiler": compiler(), "sha256": digests(FOLDER)}
    (FOLDER / "digests.json").write_text(json.dumps(record, indent=2) + "\n")
