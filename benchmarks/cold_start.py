"""From exec to ready: the demo bundle all the way, a bundle of real size as far as its weights are in memory.

What one waits for at least is that the weights' bytes come from the disk and that the libraries are imported; both are
measured here too, each time with the page cache emptied of the bundle. The real bundle's warm-up is left out: it is
arithmetic that a GPU does in a fraction of a second and a CPU in minutes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Part
from benchmarks.servers import OUT, PROGRAM, Server, free_port, memory_of, ours, started
from inpaint_server.models.bundle import open_bundle

_IMPORTS = "import inpaint_server.server.process, inpaint_server.models.backend"
_CHUNK = 1 << 24


def measure(runs: int, bundle: str) -> Part:
    """Reading, importing and starting take turns."""
    from benchmarks.real_size_bundle import make  # torch takes seconds

    folder = make(OUT / "real-size")
    turns = [_turn(folder) for _ in range(runs)]
    read, imports, loaded = (
        statistics.median(column) for column in zip(*((t[0], t[1], t[2]) for t in turns), strict=True)
    )
    resident, peak = turns[-1][3:]
    held = _bytes(folder, shared_once=True)
    files = _bytes(folder, shared_once=False)
    with ours(bundle=bundle) as server:
        ready_s = server.ready_s
    return Part(
        figures=[
            Figure(
                name="cold start with real-size weights, over reading them and importing the libraries",
                value=statistics.median(t[2] / (t[0] + t[1]) for t in turns),
                at_most=1.5,
                detail=f"{loaded:.1f} s / ({read:.1f} s + {imports:.1f} s), warm-up left out",
            ),
            Figure(
                name="resident memory over the weights' files",
                value=resident / files,
                at_most=1.15,
                detail=f"{resident / 1e9:.2f} GB / {files / 1e9:.2f} GB",
            ),
            Figure(
                name="resident memory over the weights that are held (what both checkpoints share once)",
                value=resident / held,
                detail=f"{resident / 1e9:.2f} GB / {held / 1e9:.2f} GB, at most {peak / 1e9:.2f} GB while loading",
            ),
            Figure(name="cold start with the demo bundle, exec to /ping 200", value=ready_s, unit="s"),
        ],
        series={"cold start, s": {"read": read, "imports": imports, "exec to weights in memory": loaded}},
    )


def _turn(folder: Path) -> tuple[float, float, float, int, int]:
    """Seconds to read, to import, to load; resident bytes then, and at most before."""
    forget(folder)
    begun = time.perf_counter()
    for path in _weights(folder):
        with path.open("rb", buffering=0) as file:
            while file.read(_CHUNK):
                pass
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True)  # noqa: S603
    imports = time.perf_counter() - begun
    forget(folder)
    loaded, resident, peak = _load(folder)
    return read, imports, loaded, resident, peak


def _load(folder: Path) -> tuple[float, int, int]:
    port = free_port()
    command = [*PROGRAM, "serve", "--direct", "--bundle", str(folder), "--port", str(port)]
    with started(command, port, {"INPAINT_DTYPE": "bfloat16"}, name="real-size") as server:
        seconds = _until_weights_are_in_memory(server)
        memory = memory_of(server.process.pid)
    return seconds, memory["VmRSS"], memory["VmHWM"]


def _until_weights_are_in_memory(server: Server) -> float:
    """Wait for the log's line that says so."""
    with server.log.open() as log:
        while True:
            line = log.readline()
            if '"weights_loaded"' in line:
                return time.perf_counter() - server.begun
            if not line:
                try:
                    server.process.wait(timeout=0.02)
                except subprocess.TimeoutExpired:
                    continue
                raise SystemExit(f"The server ended: see {server.log}.")


def forget(folder: Path) -> None:
    """Have the kernel drop a bundle's files from its page cache, so that they come from the disk again."""
    for path in _weights(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _weights(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.safetensors")


def _bytes(folder: Path, *, shared_once: bool) -> int:
    files = {path: entry for path, entry in open_bundle(folder).manifest.files.items() if path.endswith(".safetensors")}
    if shared_once:
        files = {entry.sha256: entry for entry in files.values()}
    return sum(entry.bytes for entry in files.values())
