"""What the peers' own scripts do for a request: the obvious way, JSON in, base64 PNG out."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.obvious import Obvious, karras

FOLDER_VARIABLE = "PEER_BUNDLE"


def load() -> Obvious:
    """The models of the bundle that the environment names."""
    folder = Path(os.environ[FOLDER_VARIABLE])  # noqa: TID251 - a peer's process has no settings of ours
    return Obvious(folder, json.loads((folder / "bundle.json").read_text())["native_size"])


def answer(models: Obvious, fields: dict[str, Any]) -> dict[str, str]:
    """One advert."""
    with Image.open(io.BytesIO(base64.b64decode(fields["image"]))) as photo:
        words = (fields["background_prompt"], fields["foreground_prompt"])
        efforts = [karras(fields["steps"], fields["guidance_scale"])] * 3
        picture = models.advert(photo, words, fields["seed"], efforts)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"image": base64.b64encode(file.getvalue()).decode()}
