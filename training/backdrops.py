"""What stands behind a product: the type every backdrop is given as, and the plain ones: walls and studios."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from training.paint import Array, Shape, blur, clip, colour, fill, grid, mix, noise, pick, ramp, scatter, smooth, vary


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    """A background that covers the whole canvas.

    Attributes:
        pixels: Picture, (H, W, 3) float32 in [0, 1], sharp.
        names: Ways to say what it is, the commonest first.
        suits: Materials that belong in front of it, by their names in `surfaces.MATERIALS`.
        depth: Range of the lens blur it is seen through, in pixels of a canvas 256 high.
    """

    pixels: Array
    names: tuple[str, ...]
    suits: tuple[str, ...] = ("wood", "stone", "marble", "tiles", "fabric")
    depth: tuple[float, float] = (1.5, 4.0)


def brick_wall(rng: Generator, shape: Shape, _ground: float) -> Backdrop:
    """Running bond with mortar, each brick of its own tint, lit from one side."""
    y, x = grid(shape)
    rows = rng.uniform(9, 15)
    aspect = rng.uniform(2.2, 2.8)
    course = np.floor(y * rows).astype(int)
    along = x * rows / aspect + 0.5 * (course % 2) + rng.uniform(0, 1)
    brick = np.floor(along).astype(int)
    tint = rng.normal(0, 0.14, (16, 64)).astype(np.float32)[course % 16, brick % 64]
    near = np.minimum(
        np.minimum(y * rows - course, 1 - y * rows + course),
        aspect * np.minimum(along - brick, 1 - along + brick),
    )
    pale = rng.random() < 0.2
    base = pick(rng, "#d8d4cc") if pale else pick(rng, "#a04c38", "#96553d", "#b0604a", "#8a4433")
    rough = 0.06 * noise(rng, shape, 0.8) + 0.06 * noise(rng, shape, 2.2)
    pixels = base * (1 + tint * (0.3 if pale else 1) + rough)[..., None]
    mortar = pick(rng, "#b9b1a5", "#a79f95", "#cfc8bd") * (1 + 0.05 * noise(rng, shape, 1))[..., None]
    pixels = mix(pixels, mortar * 0.9, smooth(0.11, 0.06, near))
    names = (
        ("white brick wall", "a wall of white bricks")
        if pale
        else ("brick wall", "a red brick wall", "red brick wall", "bricks", "an old brick wall")
    )
    return Backdrop(pixels=clip(pixels), names=names, suits=("wood", "stone", "tiles"), depth=(0.3, 1.8))


def plaster_wall(rng: Generator, shape: Shape, _ground: float) -> Backdrop:
    """A plain painted wall with the soft shadow of a window's light."""
    hues = {
        "white": "#e9e6e0",
        "grey": "#a9a9aa",
        "beige": "#d9c7ac",
        "green": "#8fa58c",
        "blue": "#8aa3bd",
        "pink": "#e0b4ae",
    }
    hue = str(rng.choice(list(hues)))
    y, x = grid(shape)
    mottle = 0.03 * noise(rng, shape, 2.4) + 0.012 * noise(rng, shape, 0.7)
    slant = (x - y * rng.uniform(-1, 1)) * rng.uniform(2, 4) + rng.uniform(0, 1)
    beam = smooth(0.25, 0.35, np.abs(slant % 1 - 0.5)) * float(rng.uniform(0, 0.16))
    pixels = vary(rng, colour(hues[hue]), 0.04) * (0.92 + mottle + blur(beam, 3 * shape[0] / 256))[..., None]
    names = (f"{hue} wall", f"a plain {hue} wall", f"{hue} plaster wall")
    return Backdrop(pixels=clip(pixels), names=names, depth=(0.5, 2))


STUDIO = {
    "white": "#f1f0ee",
    "grey": "#a4a5a8",
    "black": "#242527",
    "pink": "#eeaebb",
    "blue": "#5b8fcb",
    "green": "#7fae86",
    "yellow": "#efc94f",
    "orange": "#e98a45",
    "red": "#c33f3b",
    "purple": "#8d6bb5",
    "beige": "#dcc6a8",
    "teal": "#3f9a98",
}


def studio(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """A seamless paper sweep under a soft lamp."""
    hue = str(rng.choice(list(STUDIO)))
    base = vary(rng, colour(STUDIO[hue]), 0.04)
    y, x = grid(shape)
    wide = shape[1] / shape[0]
    glow = np.exp(
        -((x - wide * rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.25, 0.5)) ** 2) / rng.uniform(0.1, 0.4)
    )
    bend = smooth(ground - 0.12, ground + 0.1, y) * float(rng.uniform(-0.1, 0.12))
    pixels = base * (0.82 + 0.25 * glow + bend)[..., None] + 0.004 * noise(rng, shape, 0.3)[..., None]
    names = (
        f"{hue} studio backdrop",
        f"a plain {hue} background",
        f"{hue} studio background",
        f"{hue} gradient studio light",
    )
    return Backdrop(pixels=clip(pixels), names=names, suits=("sweep",), depth=(0, 0.5))


def night_lights(rng: Generator, shape: Shape, _ground: float) -> Backdrop:
    """City lights far out of focus: discs of a few colours on the dark."""
    y, x = grid(shape)
    pixels = ramp(y + 0 * x, [colour("#0d1126"), pick(rng, "#1c2143", "#2a1f3d"), colour("#15131f")])
    zero = np.zeros(shape, np.float32)
    band = np.exp(-(((y - rng.uniform(0.35, 0.6)) / rng.uniform(0.2, 0.4)) ** 2))
    for code in ("#ffb347", "#ff7b3a", "#ffe3a8", "#7fb6ff", "#ff4f5e"):
        lights = scatter(rng, zero, int(rng.integers(8, 22)), (0.015, 0.05), hard=1.5 * shape[0] / 256)
        pixels = pixels + colour(code) * (lights * band * 0.75)[..., None]
    names = ("city lights at night", "night city", "city lights, night", "bokeh lights at night")
    return Backdrop(pixels=clip(pixels), names=names, suits=("wood", "stone", "tiles", "marble"), depth=(0.3, 1.5))


def fade(pixels: Array, paint: Array, weight: Array) -> Array:
    """Haze: blends a picture towards one colour."""
    return mix(pixels, fill(pixels.shape[:2], paint), weight)
