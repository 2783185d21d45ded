"""Backdrops under a roof: living room with window and couch, kitchen, bookshelf, cafe."""

import numpy as np
from numpy.random import Generator

from training.backdrops import Backdrop
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


def _window(rng: Generator, pixels: Array, left: float, top: float, size: tuple[float, float]) -> Array:
    """Cuts a bright window with frame and bars into a wall; size is (height, width)."""
    shape = pixels.shape[:2]
    high, wide = size
    frame = pick(rng, "#f4f2ee", "#4a3a2e", "#e9e4da")
    pixels[box(shape, left - 0.02, top - 0.02, left + wide + 0.02, top + high + 0.02)] = frame
    rows, columns = box(shape, left, top, left + wide, top + high)
    outside = ramp(
        np.linspace(0, 1, shape[0])[:, None] + np.zeros(shape),
        [colour("#e8f3fb"), colour("#f7fbf6"), pick(rng, "#b9d3a0", "#dfe9d8")],
    )
    green = smooth(0.2, 1.2, noise(rng, shape, 2.4) + 3 * (grid(shape)[0] - top - 0.75 * high))
    outside = mix(outside, fill(shape, pick(rng, "#9dbd86", "#86a878")), 0.7 * green)
    pixels[rows, columns] = outside[rows, columns]
    pixels[box(shape, left + wide / 2 - 0.006, top, left + wide / 2 + 0.006, top + high)] = frame
    pixels[box(shape, left, top + high * 0.45, left + wide, top + high * 0.45 + 0.012)] = frame
    return pixels


def living_room(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """A wall with a window, curtains, a couch with cushions, perhaps a plant and a lamp."""
    y, x = grid(shape)
    wide = shape[1] / shape[0]
    line = max(ground, 0.5)
    wall = pick(rng, "#d8d1c4", "#c9cfd2", "#e4ddd0", "#b9c0b4")
    pixels = wall * (1.02 - 0.2 * np.abs(x - wide * rng.uniform(0.2, 0.8)) + 0.01 * noise(rng, shape, 2))[..., None]
    left, high = rng.uniform(0.05, wide - 0.45), rng.uniform(0.3, 0.42)
    pixels = _window(rng, np.array(pixels, np.float32), left, line - 0.2 - high, (high, 0.36))
    cloth = pick(rng, "#e9e2d6", "#b8c4cf", "#d7c0ae")
    for start in (left - 0.09, left + 0.35):
        curtain = box(shape, start, line - 0.28 - high, start + 0.09, line + 0.05)
        folds = 0.9 + 0.1 * np.sin(x * 150 + rng.uniform(0, 6)) + 0 * y
        pixels[curtain] = (cloth * folds[..., None])[curtain]
    couch, seat = pick(rng, "#8a8f96", "#7c6a5a", "#5d7a8c", "#b3543e", "#6d7f5e"), line - rng.uniform(0.14, 0.2)
    from_x = rng.uniform(-0.1, 0.3) * wide
    to_x = from_x + rng.uniform(0.6, 0.8)
    pixels[box(shape, from_x, seat - 0.06, to_x, line + 0.1)] = couch * 0.92
    pixels[box(shape, from_x - 0.05, seat, from_x + 0.06, line + 0.14)] = couch * 0.8
    pixels[box(shape, to_x - 0.06, seat, to_x + 0.05, line + 0.14)] = couch * 0.8
    pixels[box(shape, from_x + 0.06, seat + 0.08, to_x - 0.06, line + 0.02)] = clip(couch * 1.12)
    for start in (from_x + 0.09, to_x - 0.22):
        pixels[box(shape, start, seat - 0.02, start + 0.12, seat + 0.09)] = pick(
            rng, "#e0b04f", "#efe7da", "#7a9aa0", "#c96f5a"
        )
    floor = pick(rng, "#a07c58", "#8a6a4b", "#b99a76") * (1 - 0.1 * (y - line) + 0.02 * noise(rng, shape, 2))[..., None]
    pixels = mix(pixels, floor, smooth(line + 0.1, line + 0.12, y + 0 * x))
    names = (
        "living room with window and couch",
        "window and couch",
        "a living room",
        "couch and window in the background",
        "cozy living room",
    )
    return Backdrop(pixels=clip(pixels), names=names, suits=("wood", "wood", "marble", "fabric"), depth=(1.8, 4.0))


def kitchen(rng: Generator, shape: Shape, ground: float) -> Backdrop:
    """Cupboards above and below a tiled wall, a window, things on the counter."""
    y, x = grid(shape)
    wide = shape[1] / shape[0]
    counter = max(ground, 0.5) - rng.uniform(0.02, 0.1)
    pixels = fill(shape, pick(rng, "#ebe7df", "#dfe5e6", "#e9e0d2"))
    joints = np.minimum(np.abs(y * 22 % 1 - 0.5), np.abs(x * 22 % 1 - 0.5))
    pixels = mix(pixels, fill(shape, colour("#b9b4aa")), 0.5 * smooth(0.1, 0.04, joints))
    cupboard, gap = pick(rng, "#f3f1ec", "#7d8f86", "#51677c", "#c9a67a", "#3f4a4e"), rng.uniform(0.16, 0.24)
    hang = counter - rng.uniform(0.26, 0.32)
    for start in np.arange(-rng.uniform(0, 0.2), wide, gap):
        for top, bottom in ((-1.0, hang), (counter + 0.04, 2.0)):
            pixels[box(shape, start, top, start + gap - 0.008, bottom)] = vary(rng, cupboard, 0.015)
            pixels[
                box(
                    shape,
                    start + gap - 0.045,
                    bottom - 0.09 if top < 0 else top + 0.03,
                    start + gap - 0.03,
                    bottom - 0.02 if top < 0 else top + 0.1,
                )
            ] = colour("#b59a5a")
    if rng.random() < 0.6:
        pixels = _window(rng, pixels, rng.uniform(0.05, wide - 0.4), counter - 0.46, (0.4, 0.32))
    pixels[box(shape, 0, counter, wide, counter + 0.045)] = pick(rng, "#d9d5cd", "#6a4a32", "#3a3a3c")
    for _ in range(int(rng.integers(4, 8))):
        start, high = rng.uniform(0, wide), rng.uniform(0.05, 0.15)
        pixels[box(shape, start, counter - high, start + rng.uniform(0.03, 0.08), counter)] = pick(
            rng, "#c0392b", "#e2a33b", "#3f8f5f", "#d9d9d6", "#4a6f93", "#8a5a3a"
        )
    names = ("kitchen", "a modern kitchen", "kitchen in the background", "bright kitchen with cupboards")
    return Backdrop(pixels=clip(pixels), names=names, suits=("wood", "marble", "marble", "tiles"), depth=(1.5, 3.5))


def bookshelf(rng: Generator, shape: Shape, _ground: float) -> Backdrop:
    """Shelves full of books: spines of many colours, some leaning gaps."""
    wide = shape[1] / shape[0]
    wood = pick(rng, "#6a452b", "#8a6240", "#4a3222", "#d8c4a4")
    pixels = fill(shape, wood * 0.45)
    step = rng.uniform(0.2, 0.28)
    for shelf in np.arange(-rng.uniform(0, step), 1, step):
        left = rng.uniform(-0.03, 0)
        while left < wide:
            thick, high = rng.uniform(0.014, 0.042), step * rng.uniform(0.62, 0.86)
            if rng.random() > 0.06:
                spine = pick(
                    rng,
                    "#8c2f2b",
                    "#2f4f7a",
                    "#3a6b4a",
                    "#d8c9a3",
                    "#c98a3a",
                    "#5a3f6b",
                    "#2a2a30",
                    "#b9b4aa",
                    "#a3522f",
                    amount=0.14,
                )
                rows, columns = box(shape, left, shelf + step - high, left + thick - 0.002, shelf + step)
                pixels[rows, columns] = spine
                pixels[
                    box(shape, left, shelf + step - 0.8 * high, left + thick - 0.002, shelf + step - 0.72 * high)
                ] = clip(spine * 1.4 + 0.08)
            left += thick
        pixels[box(shape, 0, shelf + step, wide, shelf + step + 0.02)] = wood
    names = ("books", "bookshelf", "bookshelf with books", "shelves full of books", "a library")
    return Backdrop(
        pixels=clip(pixels * (1 + 0.02 * noise(rng, shape, 1.5))[..., None]),
        names=names,
        suits=("wood", "wood", "fabric"),
        depth=(0.8, 2.4),
    )


def cafe(rng: Generator, shape: Shape, _ground: float) -> Backdrop:
    """A dim room with warm lamps and the shapes of chairs, far out of focus."""
    y, x = grid(shape)
    pixels = ramp(
        clip(y + 0.06 * noise(rng, shape, 2.6)) + 0 * x,
        [pick(rng, "#3a2a1f"), pick(rng, "#5d4330", "#4f3a2c"), pick(rng, "#2e2119")],
    )
    for _ in range(int(rng.integers(6, 11))):
        left, top = rng.uniform(0, shape[1] / shape[0]), rng.uniform(0.15, 0.6)
        pixels[box(shape, left, top, left + rng.uniform(0.05, 0.2), top + rng.uniform(0.1, 0.4))] = pick(
            rng, "#7a5a3c", "#2a1d15", "#94693f", "#40362e"
        )
    pixels = blur(pixels, 3 * shape[0] / 256)
    zero = np.zeros(shape, np.float32)
    lamps = scatter(rng, zero, int(rng.integers(8, 16)), (0.025, 0.06), hard=2 * shape[0] / 256) * smooth(0.65, 0.35, y)
    pixels = pixels + colour("#ffc46b") * (0.8 * clip(lamps) + 0.5 * blur(clip(lamps), 10 * shape[0] / 256))[..., None]
    names = (
        "cafe",
        "a cozy cafe",
        "coffee shop with warm lights",
        "restaurant in the background",
        "cafe with warm lights",
    )
    return Backdrop(pixels=clip(pixels), names=names, suits=("wood", "wood", "marble"), depth=(0.8, 2.0))
