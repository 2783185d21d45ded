"""Backdrops under the sky: park, forest, beach, mountains, street, garden."""

import numpy as np
from numpy.random import Generator

from training.backdrops import Backdrop, fade
from training.paint import (
    Array,
    Shape,
    blur,
    box,
    clip,
    colour,
    fill,
    grid,
    mix,
    noise,
    pick,
    ramp,
    scatter,
    smooth,
    vary,
)


def _heavens(rng: Generator, shape: Shape, kind: str, low: float = 1.0) -> Array:
    """A sky of one kind whose horizon is at y = low."""
    y, x = grid(shape)
    height = clip(y / max(low, 0.2)) + 0 * x
    if kind == "sunset":
        top, middle, bottom = (
            pick(rng, "#4c4a86", "#5a4f8c", "#3d5b8f"),
            pick(rng, "#e07a52", "#e8875f"),
            pick(rng, "#ffcf7d", "#ffd894"),
        )
        pixels = ramp(height, [top, mix(top, middle, 0.6), middle, bottom])
        streaks = clip(0.4 * noise(rng, shape, 2.6, (1, 5)) - 0.1)
        pixels = mix(pixels, pick(rng, "#ffb199", "#c9647a"), 0.7 * streaks)
        wide = shape[1] / shape[0]
        sun = np.hypot(x - wide * rng.uniform(0.2, 0.8), y - low * rng.uniform(0.75, 0.95))
        return clip(
            pixels
            + colour("#fff0b8") * (0.9 * np.exp(-((sun / 0.05) ** 2)) + 0.3 * np.exp(-((sun / 0.25) ** 2)))[..., None]
        )
    pixels = ramp(height, [pick(rng, "#3f7fd0", "#4a8ad6", "#3a76c4"), pick(rng, "#8dbbe8"), pick(rng, "#d3e6f5")])
    if kind == "cloudy":
        puffs = noise(rng, shape, 3.0, (1, 1.8)) + 0.25 * noise(rng, shape, 1.8)
        cover = smooth(0.1, 1.1, puffs)
        shade = 1 - 0.13 * smooth(0.5, 2.0, blur(np.roll(puffs, shape[0] // 24, axis=0), 3))
        pixels = mix(pixels, colour("#fafbfd") * shade[..., None], 0.95 * cover)
    return pixels


def sky(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """Nothing but sky."""
    kind = str(rng.choice(["clear", "cloudy", "cloudy", "sunset"]))
    names = {
        "clear": ("clear blue sky", "blue sky", "a clear sky"),
        "cloudy": ("blue sky with white clouds", "sky with clouds", "blue sky, clouds", "cloudy sky"),
        "sunset": ("sunset sky", "a sunset", "sunset", "orange sunset sky"),
    }[kind]
    return Backdrop(
        pixels=_heavens(rng, shape, kind, max(ground, 0.5) + 0.1),
        names=names,
        suits=("grass", "sand", "snow", "stone", "wood", "water"),
        depth=(0, 1.5),
    )


def _crown(rng: Generator, shape: Shape, centre: tuple[float, float], radius: float) -> Array:
    """Opacity of one tree's crown: a disc with a torn, lumpy edge; centre is (y, x)."""
    y, x = grid(shape)
    torn = 0.28 * noise(rng, shape, 2.4) + 0.1 * noise(rng, shape, 1.2)
    return smooth(1.12, 0.92, np.hypot((y - centre[0]) / 0.9, x - centre[1]) / radius + torn)


def park(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """Trees on a lawn before the sky."""
    y, x = grid(shape)
    wide = shape[1] / shape[0]
    line = max(ground, 0.35) + rng.uniform(-0.06, 0.0)
    pixels = _heavens(rng, shape, str(rng.choice(["clear", "cloudy", "cloudy"])), line)
    leaves = clip(0.45 + 0.25 * noise(rng, shape, 1.8) + 0.1 * noise(rng, shape, 0.8))
    hedge = smooth(0.0, 0.02, y - line + 0.1 + 0.03 * noise(rng, shape, 3.0))
    pixels = mix(pixels, ramp(leaves, [colour("#2c4a2c"), pick(rng, "#5f8a4a")]), hedge)
    for place in np.linspace(-0.05, wide + 0.05, int(rng.integers(3, 6))):
        middle, radius = float(place + rng.uniform(-0.1, 0.1)), rng.uniform(0.13, 0.27)
        high = line - radius * rng.uniform(1.0, 1.5)
        trunk = smooth(0.02, 0.012, np.abs(x - middle + 0.1 * (y - line) * rng.normal())) * smooth(high, high + 0.03, y)
        pixels = mix(pixels, fill(shape, pick(rng, "#4f3b2a", "#5d4733")), trunk)
        light = clip(leaves + 0.5 * (high - y) / radius - 0.35 * (x - middle) / radius)
        crown = ramp(light, [colour("#1d3a1a"), pick(rng, "#3f7a2e", "#4c8436"), pick(rng, "#9cc25a", "#b0c860")])
        pixels = mix(pixels, crown, _crown(rng, shape, (high, middle), radius))
    lawn = ramp(
        clip(0.5 + 0.12 * noise(rng, shape, 1.6, (1, 3)) - (y - line)),
        [pick(rng, "#3f7a28"), pick(rng, "#86b548", "#79a83f")],
    )
    pixels = mix(pixels, lawn, smooth(line - 0.01, line + 0.01, y + 0 * x))
    names = (
        "park with trees in the background",
        "park with trees",
        "trees and sky",
        "a park with trees and blue sky",
        "park, trees, sky",
    )
    return Backdrop(pixels=clip(pixels), names=names, suits=("grass", "grass", "wood", "stone"), depth=(1.5, 4.5))


def forest(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """Trunks before green depth, light falling through."""
    y, x = grid(shape)
    wide = shape[1] / shape[0]
    leaves = clip(0.42 + 0.22 * noise(rng, shape, 2.0) + 0.14 * noise(rng, shape, 0.9) - 0.25 * (y - 0.3))
    pixels = ramp(
        leaves, [colour("#12240f"), pick(rng, "#2f5b26", "#3a6430"), pick(rng, "#7fa650", "#93b35c"), colour("#dfe9b8")]
    )
    for layer, haze in enumerate((0.55, 0.3, 0.0)):
        for _ in range(int(rng.integers(3, 7))):
            thick = rng.uniform(0.008, 0.02) * (1 + layer)
            side = (x - rng.uniform(0, wide) - rng.normal(0, 0.04) * (y - 0.5)) / thick
            bark = (
                pick(rng, "#4a3a2b", "#3b2f25", "#5c4a38")
                * (1 - 0.35 * side + 0.15 * noise(rng, shape, 1.0, (8, 1)))[..., None]
            )
            trunk = fade(clip(bark), colour("#6d8a55"), np.full(shape, haze, np.float32))
            pixels = mix(pixels, trunk, smooth(1.05, 0.8, np.abs(side)))
    floor = smooth(ground - 0.03, ground + 0.05, y + 0.02 * noise(rng, shape, 2.5))
    pixels = mix(pixels, ramp(leaves, [colour("#2a2a15"), pick(rng, "#5d6b2c", "#7a6a3a")]), floor)
    names = ("forest", "a green forest", "forest with tall trees", "woods in the background", "trees in a forest")
    return Backdrop(pixels=clip(pixels), names=names, suits=("grass", "stone", "wood", "pebbles"), depth=(1.0, 3.5))


def beach(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """The sea between sand and sky, by day or at sunset."""
    y, x = grid(shape)
    kind = str(rng.choice(["clear", "cloudy", "sunset"]))
    line = max(ground, 0.4) - rng.uniform(0.1, 0.22)
    shore = max(ground, 0.4) + rng.uniform(-0.02, 0.02)
    pixels = _heavens(rng, shape, kind, line)
    near, far = (
        (pick(rng, "#9a6a6a", "#7a5f7a"), pick(rng, "#e29a6a"))
        if kind == "sunset"
        else (pick(rng, "#3aa0b0", "#49aeb8"), pick(rng, "#1f5f9a", "#2a6aa5"))
    )
    waves = noise(rng, shape, 1.6, (1, 7))
    sea = mix(far, near, clip((y - line) / (shore - line) + 0 * x)[..., None]) * (1 + 0.07 * waves)[..., None]
    pixels = mix(pixels, clip(sea), smooth(line - 0.004, line + 0.004, y + 0 * x))
    edge = y - shore + 0.012 * noise(rng, (1, shape[1]), 2.5)
    pixels = mix(
        pixels,
        pick(rng, "#d9bd8c", "#e2c898") * (1 + 0.04 * noise(rng, shape, 1.0))[..., None],
        smooth(-0.004, 0.006, edge),
    )
    pixels = mix(pixels, fill(shape, colour("#f6f7f5")), 0.8 * np.exp(-((edge / 0.013) ** 2)))
    names = (
        ("beach, sunset sky", "beach at sunset", "sunset over the sea")
        if kind == "sunset"
        else ("beach", "the sea and blue sky", "beach and ocean", "a beach with the sea in the background")
    )
    return Backdrop(pixels=clip(pixels), names=names, suits=("sand", "sand", "sand", "wood", "stone"), depth=(0.8, 3))


def mountains(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """Ranges with snow on their tops, paler with distance."""
    y, x = grid(shape)
    line = max(ground, 0.4)
    pixels = _heavens(rng, shape, str(rng.choice(["clear", "cloudy", "sunset"], p=[0.45, 0.4, 0.15])), line)
    wide = (1, shape[1])
    snowy = float(rng.uniform(0.08, 0.22))
    for layer, rock in enumerate(
        (pick(rng, "#8296b4"), pick(rng, "#5f6d80", "#66707c"), pick(rng, "#3d5240", "#47513f"))
    ):
        base = line * (0.35 + 0.22 * layer) + rng.uniform(-0.03, 0.03)
        top = base + 0.085 * noise(rng, wide, 3.2) * (1 - 0.2 * layer)
        ridge = noise(rng, shape, 2.2)
        light = 1 + (2.6 - layer) * np.gradient(blur(ridge, 1.2), axis=1)
        face = clip(rock * light[..., None])
        if layer < 2:
            white = smooth(0.35, -0.35, (y - top - snowy) / 0.12 + 0.5 * ridge)
            face = mix(face, clip(colour("#f3f7fc") * (0.9 + 0.1 * light)[..., None]), white)
        pixels = mix(pixels, face, smooth(0, 0.006, y - top))
    meadow = pick(rng, "#6d8a4a", "#7f9a58", "#5d7a48") * (1 + 0.06 * noise(rng, shape, 2.0, (1, 3)))[..., None]
    pixels = mix(pixels, clip(meadow), smooth(line - 0.02, line + 0.02, y + 0.008 * noise(rng, wide, 3)))
    pixels = fade(
        pixels, colour("#c9d8e8"), 0.45 * smooth(line - 0.2, line, y + 0 * x) * smooth(line + 0.3, line, y + 0 * x)
    )
    names = ("mountains", "snowy mountains", "mountains in the background", "mountain landscape")
    return Backdrop(
        pixels=clip(pixels), names=names, suits=("snow", "snow", "grass", "stone", "wood", "water"), depth=(0.5, 2.5)
    )


def street(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """House fronts with rows of windows, down to a pavement."""
    y, x = grid(shape)
    line = max(ground, 0.5)
    pixels = _heavens(rng, shape, "cloudy", line)
    left = -rng.uniform(0, 0.2)
    while left < shape[1] / shape[0]:
        right, roof = left + rng.uniform(0.18, 0.4), rng.uniform(-0.15, 0.3)
        pixels[box(shape, left, roof, right, 1)] = pick(rng, "#b5a48f", "#8f8a86", "#a8755c", "#cfc3b0", "#7d8790")
        glass = pick(rng, "#39485a", "#53677a", "#ffe0a0", amount=0.15)
        for row in np.arange(roof + 0.05, line - 0.08, 0.115):
            for column in np.arange(left + 0.03, right - 0.05, 0.085):
                pixels[box(shape, column, row, column + 0.045, row + 0.07)] = vary(rng, glass, 0.2)
        left = right
    pavement = pick(rng, "#77777a", "#86827c") * (1 + 0.05 * noise(rng, shape, 1.5))[..., None]
    pixels = mix(pixels, pavement, smooth(line - 0.01, line + 0.01, y + 0 * x))
    names = ("city street", "buildings in the background", "a street in the city", "city buildings")
    return Backdrop(pixels=clip(pixels), names=names, suits=("stone", "tiles", "wood"), depth=(1.8, 4.5))


def garden(rng: Generator, shape: Shape, _ground: float) -> Backdrop:
    """Flowers out of focus before green."""
    leaves = clip(0.5 + 0.26 * noise(rng, shape, 2.2) + 0.12 * noise(rng, shape, 0.9))
    pixels = ramp(leaves, [colour("#1f3d1c"), pick(rng, "#4d8038"), pick(rng, "#a6c66a")])
    zero = np.zeros(shape, np.float32)
    for code in rng.choice(["#e0486a", "#f2a5c0", "#f4d04e", "#ffffff", "#9a63c9", "#f07b3c"], 3, replace=False):
        petals = scatter(rng, zero, int(rng.integers(14, 34)), (0.015, 0.04), hard=2 * shape[0] / 256)
        pixels = mix(pixels, fill(shape, vary(rng, colour(str(code)))), clip(1.3 * petals))
    names = ("flowers in a garden", "garden with flowers", "colorful flowers", "a flower garden")
    return Backdrop(pixels=clip(pixels), names=names, suits=("grass", "wood", "stone"), depth=(1.2, 3))
