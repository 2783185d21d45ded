"""The requests that are measured: the demo photos in scenes that the demo models know, each with a seed of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

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
class Order:
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


def order(**more: object) -> Order:
    """An advert as JSON."""
    return Order(body=json.dumps(fields(**more)).encode())
