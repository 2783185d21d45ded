"""Products that are built, not turned: box, book, phone, and free shapes."""

import numpy as np
from numpy.random import Generator

from training.figure import Figure, Points, Product, any_hue, curve
from training.paint import Array, clip, colour, mix, pick, smooth


def box(rng: Generator, side: int) -> Product:
    """A carton with two sides and its top in view, printed on the front."""
    figure, paint = Figure(side), any_hue(rng)
    corner, rise = rng.uniform(0.2, 0.8), rng.uniform(0.03, 0.12)
    top, deep = rng.uniform(0.06, 0.45), rng.uniform(0.02, 0.12)
    left, right, taper = (0.02, 1 - rise), (0.98, 1 - rise * rng.uniform(0.6, 1)), rng.uniform(0, 0.02)
    near, back = (corner, 0.995), (1 - corner, top - deep + 0.0)
    near_top, left_top, right_top = (
        (corner, top + taper),
        (0.02 + taper, top - deep * 0.4),
        (0.98 - taper, top - deep * 0.4),
    )
    lights = rng.permutation([1.0, rng.uniform(0.6, 0.8)])
    faces: list[tuple[Points, float]] = [
        ([left, near, near_top, left_top], float(lights[0])),
        ([near, right, right_top, near_top], float(lights[1])),
        ([near_top, right_top, back, left_top], 1.12),
    ]
    grain = 1 + 0.02 * figure.grain(rng, 1.5)
    for corners, light in faces:
        figure.lay(figure.polygon(corners), clip(paint * light * grain[..., None]))
    for corners, light in faces[:2]:
        _print_on(figure, rng, corners, light)
    return figure.finish()


def _print_on(figure: Figure, rng: Generator, corners: Points, light: float) -> None:
    """Prints bars and a disc on a face given by its corners: lower two, then upper two, in a ring."""
    low0, low1, high1, high0 = (np.array(point) for point in corners)

    def place(across: float, up: float) -> tuple[float, float]:
        point = (low0 * (1 - across) + low1 * across) * (1 - up) + (high0 * (1 - across) + high1 * across) * up
        return float(point[0]), float(point[1])

    for _ in range(int(rng.integers(1, 5))):
        start, low = rng.uniform(0.08, 0.5), rng.uniform(0.08, 0.8)
        end, high = rng.uniform(start + 0.2, 0.95), low + rng.uniform(0.02, 0.2)
        bar = figure.polygon(
            [place(start, low), place(end, low), place(end, min(high, 0.95)), place(start, min(high, 0.95))]
        )
        figure.tint(bar, any_hue(rng) * light)


def book(rng: Generator, side: int) -> Product:
    """A book standing, turned a little, its pages in view."""
    figure, paint = Figure(side), any_hue(rng)
    spine, top, skew = rng.uniform(0.1, 0.25), rng.uniform(0.02, 0.1), rng.uniform(0, 0.06)
    cover: Points = [(0.15 + spine, 0.99), (0.85, 0.99 - skew), (0.85, top + skew), (0.15 + spine, top)]
    back: Points = [(0.15, 0.99 - skew), (0.15 + spine, 0.99), (0.15 + spine, top), (0.15, top + skew)]
    figure.lay(figure.polygon(back), paint * float(rng.uniform(0.55, 0.75)))
    figure.lay(figure.polygon(cover), clip(paint * (1.05 - 0.2 * figure.x)[..., None]))
    _print_on(figure, rng, cover, 1)
    return figure.finish()


def phone(rng: Generator, side: int) -> Product:
    """A phone or tablet standing upright, its screen lit or dark."""
    figure, wide = Figure(side), rng.uniform(0.24, 0.4)
    corner = 0.06
    frame = [
        (0.5 - wide, 0.02 + corner),
        (0.5 - wide + corner, 0.02),
        (0.5 + wide - corner, 0.02),
        (0.5 + wide, 0.02 + corner),
        (0.5 + wide, 0.99 - corner),
        (0.5 + wide - corner, 0.99),
        (0.5 - wide + corner, 0.99),
        (0.5 - wide, 0.99 - corner),
    ]
    figure.lay(figure.polygon(frame), pick(rng, "#1a1a1c", "#c9c9cc", "#3a3f4a", "#e5d5c5"))
    screen = clip(0.5 + 0.35 * figure.grain(rng, 3.5))
    lit = (
        mix(np.broadcast_to(any_hue(rng), (side, side, 3)), any_hue(rng), screen)
        if rng.random() < 0.6
        else np.full((side, side, 3), 0.05, np.float32)
    )
    glass = figure.bar(0.5 - wide + 0.025, 0.06, 0.5 + wide - 0.025, 0.95)
    figure.tint(glass, lit)
    figure.tint(glass * 0.25 * smooth(0.0, 0.02, figure.x - 0.7 * figure.y - rng.uniform(-0.3, 0.3)), colour("#ffffff"))
    return figure.finish()


def _texture(figure: Figure, rng: Generator) -> Array:
    """A random surface: plain, speckled, striped or marbled."""
    first, second = any_hue(rng), any_hue(rng)
    kind = int(rng.integers(4))
    if kind == 0:
        weight = np.zeros((figure.side, figure.side), np.float32)
    elif kind == 1:
        weight = clip(0.3 * figure.grain(rng, 0.6))
    elif kind == 2:
        angle, rate = rng.uniform(0, np.pi), rng.uniform(20, 90)
        weight = smooth(-0.3, 0.3, np.sin((figure.x * np.cos(angle) + figure.y * np.sin(angle)) * rate))
    else:
        weight = smooth(-0.5, 0.5, figure.grain(rng, 2.6))
    return mix(np.broadcast_to(first, (figure.side, figure.side, 3)), second, weight * float(rng.uniform(0.3, 1)))


def pebble(rng: Generator, side: int) -> Product:
    """A free rounded shape with a random surface, shaded as if bulging: toys, soaps, fruit, plush."""
    figure = Figure(side)
    count = int(rng.integers(5, 10))
    radii = rng.uniform(0.3, 0.49, count)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 0.5)
    outline = figure.polygon(
        curve([(0.5 + r * np.cos(a), 0.5 + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)])
    )
    if rng.random() < 0.2:
        outline = outline * (
            1 - figure.ellipse((0.5 + rng.uniform(-0.1, 0.1), 0.45), (rng.uniform(0.06, 0.13), rng.uniform(0.06, 0.13)))
        )
    bulge = figure.grain(rng, 3.6) * 0.08
    lamp = rng.uniform(-0.5, 0.5, 2)
    light = (
        1.1
        - rng.uniform(0.5, 1.3) * np.hypot(figure.x - 0.5 - 0.3 * lamp[0], figure.y - 0.4 - 0.3 * lamp[1]) ** 1.5
        + bulge
    )
    figure.lay(outline, clip(_texture(figure, rng) * light[..., None]))
    spot = np.exp(
        -((np.hypot(figure.x - 0.5 - 0.4 * lamp[0], figure.y - 0.35 - 0.3 * lamp[1]) / rng.uniform(0.04, 0.12)) ** 2)
    )
    figure.tint(outline * spot * float(rng.uniform(0, 0.8)), colour("#ffffff"))
    rows = np.flatnonzero(figure.alpha.max(axis=1) > 0.5)
    return figure.finish(base=float((rows[-1] + 1) / side))
