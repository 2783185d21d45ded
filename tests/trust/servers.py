"""Servers whose engine has gates in it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.serving.running import Server

ROOT = Path(__file__).parents[2]
ENGINE = [sys.executable, "-m", "tests.trust.gated_engine"]


def plain_server(pace: dict[str, float] | None = None, **environment: str) -> Server:
    """A front door before the real application on plain colours (or, with PLAIN=0, on the bundle)."""
    paths = [str(ROOT / "src"), str(ROOT)]
    return Server(ENGINE, {"PYTHONPATH": ":".join(paths), **environment}, pace)
