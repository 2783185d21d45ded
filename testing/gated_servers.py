"""Servers whose engine has gates in it."""

from __future__ import annotations

import sys
from pathlib import Path

from testing.running import Server

ROOT = Path(__file__).parents[1]
ENGINE = [sys.executable, "-m", "testing.gated_engine"]

AS_AN_OPERATOR_HAS_IT = {
    "check_interval": 1.0,
    "probe": 2.0,
    "engine_unresponsive": 20.0,
    "front_door_unresponsive": 4.0,
}


def plain_server(**environment: str) -> Server:
    """A front door before the real application on plain colours (or, with PLAIN=0, on the bundle)."""
    paths = [str(ROOT / "src"), str(ROOT)]
    return Server(ENGINE, {"PYTHONPATH": ":".join(paths), **environment}, AS_AN_OPERATOR_HAS_IT)
