"""The requests that are measured: the demo photos in scenes that the demo models know, each with a seed of its own."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from PIL import Image

from inpaint_server.models.bundle import DEMO

PHOTOS = sorted((DEMO.parent / "photos").glob("*.jpg"))
SCENES = (
    ("park with trees", "green grass"),
    ("brick wall", "a wooden table"),
    ("beach, sunset sky", "sand"),
    ("kitchen", "white marble"),
)
_seeds = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One HTTP request.

    Attributes:
        body: What is posted.
        path: Where to.
        headers: Content type and what is accepted.
    """

    body: bytes
    path: str = "/invocations"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


def fields(**more: object) -> dict[str, object]:
    """An advert's fields with a seed that was not used before; photo and scene go by the seed."""
    number = next(_seeds)
    background, foreground = SCENES[number % len(SCENES)]
    return {
        "image": picture(PHOTOS[number % len(PHOTOS)]),
        "background_prompt": background,
        "foreground_prompt": foreground,
        "seed": number,
        **more,
    }


def picture(path: Path) -> str:
    """A file as base64."""
    return base64.b64encode(path.read_bytes()).decode()


def advert(**more: object) -> HttpRequest:
    """An advert as JSON."""
    return HttpRequest(body=json.dumps(fields(**more)).encode())


def inpainting(side: int, steps: int, guidance_scale: float) -> dict[str, object]:
    """One inpainting pass: the lower half of a square photo, repainted."""
    return {
        "task": "inpaint",
        "image": square_photo(side),
        "mask": half(side, white="upper"),
        "layers": [{"region": "around", "prompt": SCENES[0][1]}],
        "placement": "original",
        "width": side,
        "height": side,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "seed": next(_seeds),
    }


def square_photo(side: int) -> str:
    """A demo photo squeezed into a square, PNG, base64."""
    with Image.open(PHOTOS[0]) as opened:
        return _png(opened.convert("RGB").resize((side, side)))


def half(side: int, *, white: str) -> str:
    """A mask, PNG, base64: its `upper` or `lower` half white."""
    mask = Image.new("L", (side, side))
    mask.paste(255, (0, 0, side, side // 2) if white == "upper" else (0, side // 2, side, side))
    return _png(mask)


def _png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
