"""Draw three cut-outs, lay them on scenes of the demo models, and write the sheet that docs/pictures.md shows.

    python scripts/cut_outs.py [--folder out/cut-outs]

A bottle with a soft drop shadow in its alpha channel, a tumbler of glass, and a brush with fine hairs: what a mask of
black and white cannot say. The cut-outs themselves are saved in the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from inpaint_server import settings
from inpaint_server.client import Client
from inpaint_server.client.fields import request_object
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.server.local import LocalEngine

SHEET: Final = Path(__file__).parents[1] / "docs" / "images" / "cut-outs.jpg"
SIDE: Final = 512
FINE: Final = 4
"""Cut-outs are drawn so many times larger and reduced, so that their edges are soft."""

SCENES: Final = (
    ("beach, sunset sky", "sand"),
    ("forest", "wooden table"),
    ("mountains, blue sky", "grass"),
)


def main(folder: Annotated[Path, typer.Option(help="Where the cut-outs go.")] = Path("out/cut-outs")) -> None:
    """Write docs/images/cut-outs.jpg."""
    folder.mkdir(parents=True, exist_ok=True)
    client = Client(LocalEngine(settings.read(bundle="demo")))
    tiles: list[tuple[str, UInt8Array]] = []
    drawings = (("bottle, soft shadow", bottle()), ("glass", tumbler()), ("brush, fine hair", brush()))
    for (name, cut_out), (background, ground) in zip(drawings, SCENES, strict=True):
        path = folder / f"{name.split(',')[0]}.png"
        cut_out.save(path)
        request = request_object(
            "advert",
            path,
            {
                "background_prompt": background,
                "foreground_prompt": ground,
                "width": SIDE,
                "height": SIDE,
                "placement": {"scale": 0.66, "x": 0.5, "y": 0.88},
                "seed": 3,
            },
        )
        picture = client.invoke(request).pictures[0]
        picture.save(folder / f"{path.stem}-advert.png")
        print(name, picture.receipt)
        tiles += [(f"{name}: alpha", np.asarray(cut_out.getchannel("A"))), ("advert", np.asarray(picture.image))]
    Image.fromarray(contact_sheet(tiles, tile_height=360, columns=2)).save(SHEET, quality=86, optimize=True)


def bottle() -> Image.Image:
    """An opaque bottle on its own drop shadow: black, soft, up to 60% dark."""
    shadow = _canvas("L")
    _ellipse(shadow, (250, 442), (120, 20), 153)
    shadow = shadow.filter(ImageFilter.GaussianBlur(14 * FINE))
    body = _canvas("L")
    _rounded(body, (196, 190, 304, 452), 26, 255)
    _rounded(body, (228, 90, 272, 215), 10, 255)
    _rounded(body, (222, 62, 278, 112), 8, 255)
    colours = _shaded((46, 104, 92), 196, 304)
    label = _canvas("L")
    _rounded(label, (196, 280, 304, 390), 2, 255)
    colours.paste(_shaded((236, 226, 200), 196, 304), mask=label)
    cap = _canvas("L")
    _rounded(cap, (222, 62, 278, 112), 8, 255)
    colours.paste(_shaded((200, 160, 70), 222, 278), mask=cap)
    return _reduced(_over(colours, body, Image.new("RGB", colours.size), shadow))


def tumbler() -> Image.Image:
    """A glass: alpha 60 in its middle, 180 at its walls and its base."""
    rows, columns = (axis / FINE for axis in np.mgrid[: SIDE * FINE, : SIDE * FINE])
    half = 118 - 26 * (rows - 110) / 340  # narrower towards the base
    across = np.abs(columns - 256) / np.maximum(half, 1)
    inside = (across <= 1) & (rows >= 110) & (rows <= 450)
    walls = np.clip((across - 0.72) / 0.28, 0, 1) ** 1.5
    base = np.clip((rows - 405) / 30, 0, 1)
    rim = np.clip(1 - np.abs(rows - 116) / 6, 0, 1)
    veil = 60 + 120 * np.maximum.reduce((walls, base, rim))
    highlight = 110 * np.exp(-(((columns - 205) / 9) ** 2)) * (rows > 140) * (rows < 395)
    alpha = np.where(inside, np.minimum(veil + highlight, 180), 0).astype(np.uint8)
    light = np.clip(178 + 70 * np.exp(-(((columns - 205) / 14) ** 2)) - 60 * walls - 30 * base, 0, 255)
    colours = np.stack((light - 8, light, np.minimum(light + 8, 255)), axis=2).astype(np.uint8)
    return _reduced(Image.fromarray(np.dstack((colours, alpha))))


def brush() -> Image.Image:
    """A brush with a solid handle and hairs a pixel wide, softer towards their tips."""
    rng = np.random.default_rng(2)
    alpha = _canvas("L")
    draw = ImageDraw.Draw(alpha)
    for _ in range(420):
        root, lean, length = rng.uniform(-52, 52), rng.normal(0, 26), rng.uniform(120, 190)
        points = [
            ((256 + root + lean * step**2 + root * 0.5 * step) * FINE, (292 - length * step) * FINE)
            for step in np.linspace(0, 1, 12)
        ]
        draw.line(points, fill=int(rng.uniform(90, 210)), width=round(rng.uniform(2, 5)))
    tips = np.clip((np.mgrid[: SIDE * FINE, : SIDE * FINE][0] / FINE - 90) / 140, 0.25, 1)
    hairs = Image.fromarray((np.asarray(alpha) * tips).astype(np.uint8))
    handle = _canvas("L")
    _rounded(handle, (200, 278, 312, 330), 8, 255)
    _rounded(handle, (232, 320, 280, 462), 22, 255)
    colours = _shaded((150, 70, 50), 200, 312)
    return _reduced(_over(colours, handle, Image.new("RGB", colours.size, (112, 74, 40)), hairs))


def _canvas(mode: str) -> Image.Image:
    return Image.new(mode, (SIDE * FINE, SIDE * FINE))


def _rounded(image: Image.Image, box: tuple[int, int, int, int], radius: int, fill: int) -> None:
    ImageDraw.Draw(image).rounded_rectangle([edge * FINE for edge in box], radius * FINE, fill)


def _ellipse(image: Image.Image, centre: tuple[int, int], radii: tuple[int, int], fill: int) -> None:
    (x, y), (across, down) = centre, radii
    ImageDraw.Draw(image).ellipse([edge * FINE for edge in (x - across, y - down, x + across, y + down)], fill)


def _shaded(colour: tuple[int, int, int], left: int, right: int) -> Image.Image:
    """A colour as a round body shows it, lit from the left."""
    across = (np.arange(SIDE * FINE) / FINE - left) / (right - left)
    light: NDArray[np.float64] = 0.55 + 0.75 * np.exp(-(((across - 0.3) / 0.28) ** 2))
    row = np.clip(np.array(colour) * light[:, None], 0, 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row, (SIDE * FINE, SIDE * FINE, 3)).copy())


def _over(colours: Image.Image, alpha: Image.Image, under: Image.Image, under_alpha: Image.Image) -> Image.Image:
    """One layer over another, with straight alpha."""
    lower, upper = under.copy(), colours.copy()
    lower.putalpha(under_alpha)
    upper.putalpha(alpha)
    return Image.alpha_composite(lower, upper)


def _reduced(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


if __name__ == "__main__":
    typer.run(main)
