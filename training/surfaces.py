"""What a product stands on: flat materials.

A material is a seamless square picture of the surface seen from straight above, TILE pixels a side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from training.paint import Array, clip, colour, fill, grid, mix, noise, pick, smooth, vary

TILE = 512
SQUARE = (TILE, TILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A surface's picture, its names, and how it takes light.

    Attributes:
        pixels: Seamless picture, (TILE, TILE, 3) float32 in [0, 1].
        names: Ways to say what it is, the commonest first.
        gloss: Share of the background that it mirrors at its far edge, in [0, 1].
        ground: True where it reaches to the horizon, False where it ends like a table.
    """

    pixels: Array
    names: tuple[str, ...]
    gloss: float = 0.0
    ground: bool = False


def _periodic(frequency: float) -> float:
    """The nearest frequency that fits the tile a whole number of times."""
    return max(1, round(frequency))


def wood(rng: Generator) -> Material:
    """Planks or one slab of wood, in three tones."""
    tone = str(rng.choice(["light", "", "dark"]))
    base = pick(
        rng, *{"light": ("#d3ab78", "#dcbb8c"), "": ("#9c6739", "#a8703f"), "dark": ("#5a3a25", "#4c3020")}[tone]
    )
    planks = int(rng.integers(3, 7))
    y, x = grid(SQUARE)
    row = np.floor(y * planks).astype(int)
    inside = y * planks - row
    shift = rng.integers(0, TILE, planks)
    grain = noise(rng, SQUARE, 1.7, (1, 16))
    fine = noise(rng, SQUARE, 0.8, (1, 24))
    rings = np.sin(2 * np.pi * (3 * noise(rng, SQUARE, 3.2, (1, 7)) + 4 * y))
    for index in range(planks):
        rows = slice(TILE * index // planks, TILE * (index + 1) // planks)
        for field in (grain, fine, rings):
            field[rows] = np.roll(field[rows], shift[index], axis=1)
    tint = rng.normal(0, 0.07, planks).astype(np.float32)[row]
    pixels = base * (1 + tint + 0.09 * grain + 0.06 * fine + 0.05 * rings)[..., None]
    joint = smooth(2.2 * planks / TILE, 0.5 * planks / TILE, np.minimum(inside, 1 - inside)) * float(
        rng.uniform(0.4, 0.8)
    )
    names = {
        "light": ("a light wooden table", "light wood", "light wooden tabletop", "oak table"),
        "": ("a wooden table", "wooden table", "wood", "wooden tabletop", "brown wooden table"),
        "dark": ("a dark wooden table", "dark wood", "dark wooden desk", "walnut table"),
    }[tone]
    pixels = clip(mix(pixels, base * 0.25, joint + 0 * x))
    if rng.random() < 0.5:
        pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    return Material(pixels=pixels, names=names, gloss=float(rng.uniform(0.05, 0.25)))


def grass(rng: Generator) -> Material:
    """A lawn: blades as fine upright grain over patches of light and dark green."""
    patches = noise(rng, SQUARE, 2.4)
    blades = noise(rng, SQUARE, 0.8, (2.2, 1))
    tips = noise(rng, SQUARE, 0.7, (2.5, 1))
    pixels = mix(
        fill(SQUARE, pick(rng, "#4f8a2a", "#5d9632", "#6aa33a")),
        colour("#1f4a12"),
        clip(0.3 + 0.26 * blades + 0.12 * patches),
    )
    pixels = mix(pixels, pick(rng, "#a9cc5a", "#b9d36b"), clip(0.4 * tips - 0.15 + 0.1 * patches))
    return Material(pixels=clip(pixels), names=("green grass", "grass", "a lawn", "grass in a meadow"), ground=True)


def sand(rng: Generator) -> Material:
    """Rippled sand."""
    y, _ = grid(SQUARE)
    ripples = np.sin(2 * np.pi * (_periodic(rng.uniform(14, 30)) * y + 0.55 * noise(rng, SQUARE, 3.0)))
    strength = float(rng.uniform(0.015, 0.06))
    light = strength * ripples + 0.045 * noise(rng, SQUARE, 0.3) + 0.05 * noise(rng, SQUARE, 2.4)
    pixels = pick(rng, "#dcbf8f", "#e3c99c", "#d3b07c") * (1 + light)[..., None]
    return Material(pixels=clip(pixels), names=("sand", "beach sand", "a sandy beach", "golden sand"), ground=True)


def snow(rng: Generator) -> Material:
    """Snow with blue hollows and sparkling grain."""
    hollows = clip(0.45 * noise(rng, SQUARE, 3.0) + 0.3)
    pixels = mix(fill(SQUARE, vary(rng, colour("#f1f5fa"), 0.015)), colour("#b3c8e6"), 0.6 * hollows)
    return Material(
        pixels=clip(pixels + 0.02 * noise(rng, SQUARE, 0.5)[..., None]),
        names=("snow", "white snow", "fresh snow"),
        ground=True,
    )


def marble(rng: Generator) -> Material:
    """White or black marble with veins."""
    dark = rng.random() < 0.25
    base, vein = ("#26272b", "#d7d2c8") if dark else ("#efedea", "#8b8d95")
    bend = 0.12 * noise(rng, SQUARE, 2.2)
    thick = np.exp(-np.abs(noise(rng, SQUARE, 3.8) + bend) * rng.uniform(14, 24))
    thin = np.exp(-np.abs(noise(rng, SQUARE, 3.2) + bend) * 40)
    cloud = 0.03 * noise(rng, SQUARE, 2.4)
    pixels = mix(
        fill(SQUARE, vary(rng, colour(base), 0.02)) + cloud[..., None], colour(vein), clip(0.65 * thick + 0.35 * thin)
    )
    names = (
        ("black marble", "black marble counter")
        if dark
        else ("white marble", "marble", "a marble counter", "marble table")
    )
    return Material(pixels=clip(pixels), names=names, gloss=float(rng.uniform(0.15, 0.4)))


def stone(rng: Generator) -> Material:
    """Rough rock with cracks, or smooth concrete."""
    if rng.random() < 0.4:
        light = 0.05 * noise(rng, SQUARE, 2.4) + 0.045 * noise(rng, SQUARE, 0.5)
        pixels = pick(rng, "#a3a19c", "#8d8d8b", "#b5b2ac") * (1 + light)[..., None]
        return Material(
            pixels=clip(pixels),
            names=("concrete", "a concrete floor", "grey concrete"),
            gloss=float(rng.uniform(0, 0.1)),
        )
    bumps = noise(rng, SQUARE, 2.0)
    slope = np.gradient(bumps, axis=1) * 3 + 0.1 * bumps + 0.09 * noise(rng, SQUARE, 0.9)
    cracks = np.exp(-np.abs(noise(rng, SQUARE, 2.2)) * 14)
    pixels = pick(rng, "#8a8378", "#9b8f80", "#7c7a78", "#a58a6a") * (1 + 0.8 * slope)[..., None]
    return Material(
        pixels=clip(mix(pixels, colour("#2f2a26"), 0.5 * cracks)),
        names=("stone", "rock", "a rough stone", "rocks"),
        ground=bool(rng.random() < 0.4),
    )


def tiles(rng: Generator) -> Material:
    """Square ceramic tiles with joints."""
    count = int(rng.choice([4, 6, 8]))
    y, x = grid(SQUARE)
    row, column = np.floor(y * count).astype(int), np.floor(x * count).astype(int)
    near = np.minimum(
        np.minimum(y * count - row, 1 - y * count + row), np.minimum(x * count - column, 1 - x * count + column)
    )
    tint = rng.normal(0, 0.04, (count, count)).astype(np.float32)[row, column]
    pixels = (
        pick(rng, "#e6e2da", "#c9d3d6", "#b98c6c", "#d9cdb8") * (1 + tint + 0.015 * noise(rng, SQUARE, 2))[..., None]
    )
    pixels = mix(pixels, colour("#8f8a82"), smooth(2.5 * count / TILE, 1.0 * count / TILE, near))
    return Material(
        pixels=clip(pixels), names=("tiles", "a tiled floor", "kitchen tiles"), gloss=float(rng.uniform(0.1, 0.3))
    )


def water(rng: Generator) -> Material:
    """Open water with waves and glints."""
    waves = noise(rng, SQUARE, 1.9, (1, 3)) + 0.5 * noise(rng, SQUARE, 1.2, (1, 4))
    pixels = mix(fill(SQUARE, pick(rng, "#1d5c8a", "#22708f", "#1f6f86")), colour("#0c3350"), clip(0.4 - 0.3 * waves))
    pixels = mix(pixels, colour("#cfe8f2"), clip(0.5 * waves - 0.75))
    return Material(pixels=clip(pixels), names=("water", "the sea", "blue water", "the ocean"), gloss=0.35, ground=True)


def fabric(rng: Generator) -> Material:
    """Woven cloth with soft folds."""
    y, x = grid(SQUARE)
    weave = np.sin(2 * np.pi * 128 * x) * np.sin(2 * np.pi * 128 * y)
    folds = noise(rng, SQUARE, 3.4, (1.5, 1))
    pixels = (
        pick(rng, "#e8dfd0", "#d6c9b8", "#c7b5a8", "#b9c2c4")
        * (1 + 0.05 * weave + 0.08 * folds + 0.03 * noise(rng, SQUARE, 0.8))[..., None]
    )
    return Material(pixels=clip(pixels), names=("linen fabric", "a white tablecloth", "beige fabric", "cloth"))


def pebbles(rng: Generator) -> Material:
    """Round pebbles: cells around random seeds, lit from one side."""
    count = 700
    seeds = rng.integers(0, TILE, (count, 2))
    marks = np.ones((3 * TILE, 3 * TILE), bool)
    for down in (0, TILE, 2 * TILE):
        for across in (0, TILE, 2 * TILE):
            marks[seeds[:, 0] + down, seeds[:, 1] + across] = False
    middle = slice(TILE - 32, 2 * TILE + 32)
    found: Any = ndimage.distance_transform_edt(marks[middle, middle], return_indices=True)
    distance, nearest = found
    inner = slice(32, 32 + TILE)
    owner = (nearest[0] * 7919 + nearest[1] * 104729)[inner, inner] % 257
    tint = rng.normal(0, 0.16, 257).astype(np.float32)[owner]
    height = clip(1 - distance[inner, inner] / 16)
    light = 0.6 + 0.45 * np.sqrt(height) + np.gradient(height, axis=1) * 2.0
    pixels = pick(rng, "#a79d90", "#8f9094", "#b3a28b") * ((1 + tint) * light)[..., None]
    return Material(pixels=clip(pixels), names=("pebbles", "gravel", "small stones"), ground=True)


MATERIALS: Mapping[str, Callable[[Generator], Material]] = {
    "wood": wood,
    "grass": grass,
    "sand": sand,
    "snow": snow,
    "marble": marble,
    "stone": stone,
    "tiles": tiles,
    "water": water,
    "fabric": fabric,
    "pebbles": pebbles,
}
