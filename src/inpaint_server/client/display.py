"""How a notebook shows an answer: each picture, and its layers small beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

_LARGE, _SMALL = 512, 160
_ROW = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;font:13px/1.4 system-ui,sans-serif"
_FRAME = "display:block;max-width:100%;height:auto;border-radius:4px"


def answer(figures: Sequence[str], warnings: Sequence[str]) -> str:
    """Every picture of an answer below the other, then the warnings."""
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    return "".join(figures) + (f"<ul>{items}</ul>" if items else "")


def figure(title: str, image: Image.Image, layers: Sequence[tuple[str, Image.Image]]) -> str:
    """One picture and its layers as an HTML fragment that needs nothing else."""
    small = "".join(_captioned(name, layer, _SMALL) for name, layer in layers)
    column = f'<div style="{_ROW};max-width:{2 * _SMALL + 12}px">{small}</div>' if small else ""
    return f'<div style="{_ROW};margin:8px 0">{_captioned(title, image, _LARGE)}{column}</div>'


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _captioned(name: str, image: Image.Image, side: int) -> str:
    """A picture at most `side` pixels wide and high, with its name below."""
    small = image.copy()
    small.thumbnail((side, side))
    source = base64.b64encode(png(small)).decode("ascii")
    label = html.escape(name)
    return (
        f'<figure style="margin:0"><img style="{_FRAME}" alt="{label}" width="{small.width}" height="{small.height}" '
        f'src="data:image/png;base64,{source}"><figcaption>{label}</figcaption></figure>'
    )
