"""Compile the front door's Java plug-in into the jar that the package carries; needs a JDK (`javac`).

Its bytes depend on the sources and the compiler alone: python scripts/build_plugin.py
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from pathlib import Path

import mms

ROOT = Path(__file__).parents[1] / "src" / "inpaint_server" / "serving" / "plugin"
SOURCES = ROOT / "src"


def build(jar: Path) -> None:
    """Write the jar: the compiled classes and the list of services, without dates."""
    server = Path(mms.__file__).parent / "frontend" / "model-server.jar"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--release", "8", "-Xlint:-options", "-g:none", "-cp", str(server), "-d", folder]
        subprocess.run(["javac", *options, *map(str, sorted(SOURCES.rglob("*.java")))], check=True)  # noqa: S603, S607
        files = {path.relative_to(folder): path for path in Path(folder).rglob("*.class")}
        services = {path.relative_to(SOURCES): path for path in (SOURCES / "META-INF").rglob("*") if path.is_file()}
        with zipfile.ZipFile(jar, "w") as archive:
            for name, path in sorted((files | services).items()):
                archive.writestr(zipfile.ZipInfo(str(name)), path.read_bytes())


if __name__ == "__main__":
    build(ROOT / "plugin.jar")
