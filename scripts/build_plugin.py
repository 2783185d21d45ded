"""Compile the front door's Java into what the package carries, a jar and one class; needs a JDK (`javac`).

Its bytes depend on the sources and the compiler alone: python scripts/build_plugin.py
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from pathlib import Path

import mms

ROOT = Path(__file__).parents[1] / "src" / "inpaint_server" / "front_door" / "java"
SOURCES = ROOT / "src"
STAND_IN = Path("com/amazonaws/ml/mms/ServerInitializer.class")
"""Found before the model server's own class of this name, so it does not lie in the jar, which is found after."""


def build(folder_of_both: Path) -> None:
    """Write the jar (compiled classes, their sources, the list of services, without dates) and the stand-in."""
    server = Path(mms.__file__).parent / "frontend" / "model-server.jar"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--release", "8", "-Xlint:-options", "-g:none", "-cp", str(server), "-d", folder]
        subprocess.run(["javac", *options, *map(str, sorted(SOURCES.rglob("*.java")))], check=True)  # noqa: S603, S607
        files = {path.relative_to(folder): path for path in Path(folder).rglob("*.class")}
        stand_in = folder_of_both / "first" / STAND_IN
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_bytes(files.pop(STAND_IN).read_bytes())
        sources = {path.relative_to(SOURCES): path for path in SOURCES.rglob("*") if path.is_file()}
        with zipfile.ZipFile(folder_of_both / "plugin.jar", "w") as archive:
            for name, path in sorted((files | sources).items()):
                archive.writestr(zipfile.ZipInfo(str(name)), path.read_bytes())


if __name__ == "__main__":
    build(ROOT)
