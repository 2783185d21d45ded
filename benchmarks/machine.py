"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from inpaint_server import __version__


def describe() -> dict[str, str]:
    """The machine, its load and the libraries, by name."""
    import torch  # seconds: only where a machine is described

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) * 1024 / 1e9:.0f} GB",
        "accelerator": _accelerator(torch.version.cuda) if torch.cuda.is_available() else "none",
        "threads of torch": str(torch.get_num_threads()),
        "load average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "software": ", ".join(
            (
                f"Python {platform.python_version()}",
                *(f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers")),
                f"inpaint-server {__version__}",
            )
        ),
    }


def _accelerator(cuda: str | None) -> str:
    """Name, memory and driver of the first GPU, and torch's CUDA."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    name, memory, driver = (
        subprocess.run(  # noqa: S603 - no shell
            query, check=True, capture_output=True, text=True
        )
        .stdout.splitlines()[0]
        .split(", ")
    )
    return f"{name}, {memory}, driver {driver}, CUDA {cuda}"


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
