"""`inpaint-server studio`: the page on a port of this machine, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import uvicorn

from inpaint_server.catalog.presets import load
from inpaint_server.studio.app import build


def run(target: str, port: int, presets: Path | None) -> None:
    """Serve the studio to this machine alone."""
    app = build(target, load(presets))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
