"""Products one wears: shoe, bag, watch, headphones."""

import numpy as np
from numpy.random import Generator

from training.figure import Figure, Product, any_hue, curve
from training.paint import clip, colour, pick, smooth


def shoe(rng: Generator, side: int) -> Product:
    """A sneaker from the side: upper, sole, laces, a stripe."""
    figure, paint, sole = Figure(side), any_hue(rng), pick(rng, "#f1efea", "#e4ded2", "#26262a", "#c9a57a")
    ankle, toe = rng.uniform(0.36, 0.5), rng.uniform(0.68, 0.76)
    upper = [
        (0.03, 0.88),
        (0.05, 0.62),
        (0.08, ankle),
        (0.22, ankle + 0.04),
        (0.36, ankle - 0.02),
        (0.5, 0.58),
        (0.68, toe - 0.03),
        (0.9, toe + 0.03),
        (0.975, 0.88),
        (0.8, 0.95),
        (0.3, 0.95),
    ]
    outline = figure.polygon(curve(upper))
    light = 1.1 - 0.55 * smooth(0.45, 0.95, figure.y) + 0.05 * figure.grain(rng, 1.0)
    figure.lay(outline, clip(paint * light[..., None]))
    figure.tint(
        outline * figure.polygon(curve([(0.7, 0.6), (1.02, 0.7), (1.02, 0.95), (0.78, 0.95), (0.72, 0.8)])),
        paint * float(rng.uniform(0.6, 1.3)),
    )
    figure.tint(outline * figure.ellipse((0.21, ankle + 0.02), (0.14, 0.045)), paint * 0.3)
    accent = any_hue(rng)
    for start in np.linspace(0.28, 0.42, int(rng.integers(1, 4))):
        figure.tint(outline * figure.line([(start, 0.92), (start + 0.16, 0.6)], 0.035), accent)
    for step in np.linspace(0, 1, 5):
        x, y = 0.38 + 0.24 * step, ankle + 0.06 + (toe - ankle - 0.06) * step
        figure.tint(
            figure.line([(x - 0.05, y + 0.03), (x + 0.03, y - 0.015)], 0.018) * outline, pick(rng, "#f5f3ef", "#e8e6e0")
        )
    tread = figure.polygon(
        curve(
            [
                (0.02, 0.86),
                (0.4, 0.9),
                (0.8, 0.9),
                (0.985, 0.84),
                (0.985, 0.95),
                (0.85, 0.995),
                (0.1, 0.995),
                (0.02, 0.95),
            ]
        )
    )
    figure.lay(tread, clip(sole * (1.1 - 0.6 * smooth(0.84, 1.0, figure.y))[..., None] + 0 * figure.x[..., None]))
    return figure.finish()


def bag(rng: Generator, side: int) -> Product:
    """A handbag with a handle one can see through."""
    figure, paint = Figure(side), any_hue(rng)
    top, bulge = rng.uniform(0.36, 0.5), rng.uniform(0, 0.06)
    loop = curve(
        [(0.26, top + 0.05), (0.3, top - 0.2), (0.5, rng.uniform(0.06, 0.16)), (0.7, top - 0.2), (0.74, top + 0.05)],
        closed=False,
    )
    figure.lay(figure.line(loop, rng.uniform(0.03, 0.06)), paint * 0.75)
    outline = figure.polygon(
        curve(
            [
                (0.14 - bulge, top + 0.03),
                (0.5, top),
                (0.86 + bulge, top + 0.03),
                (0.95, 0.75),
                (0.93, 0.97),
                (0.5, 0.995),
                (0.07, 0.97),
                (0.05, 0.75),
            ]
        )
    )
    light = (
        1.1
        - 0.5 * np.abs(figure.x - rng.uniform(0.3, 0.7))
        - 0.25 * smooth(0.6, 1, figure.y)
        + 0.05 * figure.grain(rng, 1.4)
    )
    figure.lay(outline, clip(paint * light[..., None]))
    flap = outline * figure.polygon(
        curve([(0.05, top - 0.02), (0.95, top - 0.02), (0.9, 0.66), (0.5, rng.uniform(0.68, 0.8)), (0.1, 0.66)])
    )
    figure.tint(flap, clip(paint * (light * rng.uniform(0.8, 1.2))[..., None]))
    figure.tint(figure.ellipse((0.5, 0.68), (0.03, 0.035)), colour("#d9b35a"))
    return figure.finish()


def watch(rng: Generator, side: int) -> Product:
    """A wrist watch with its strap above and below."""
    figure, strap = Figure(side), any_hue(rng)
    wide, dial = rng.uniform(0.12, 0.18), rng.uniform(0.22, 0.3)
    light = 0.7 + 0.4 * np.cos((figure.x - 0.5) * 6) + 0.05 * figure.grain(rng, 1.0)
    figure.lay(figure.bar(0.5 - wide, 0.02, 0.5 + wide, 0.99), clip(strap * light[..., None]))
    metal = clip(
        pick(rng, "#c9ccd0", "#d9b974", "#3a3b3e")
        * (0.8 + 0.3 * np.sin(np.arctan2(figure.y - 0.5, figure.x - 0.5) * 3))[..., None]
    )
    figure.lay(figure.ellipse((0.5, 0.5), (dial, dial)), metal)
    figure.tint(figure.ellipse((0.5, 0.5), (dial * 0.85, dial * 0.85)), any_hue(rng))
    for angle in rng.uniform(0, 2 * np.pi, 2):
        tip = (0.5 + dial * 0.6 * np.cos(angle), 0.5 + dial * 0.6 * np.sin(angle))
        figure.tint(figure.line([(0.5, 0.5), tip], 0.014), pick(rng, "#f5f5f5", "#18181a"))
    return figure.finish(lying=bool(rng.random() < 0.6))


def headphones(rng: Generator, side: int) -> Product:
    """Headphones: a bow and two cushions with nothing between."""
    figure, paint = Figure(side), any_hue(rng)
    reach, low = rng.uniform(0.33, 0.38), rng.uniform(0.68, 0.76)
    bow = [
        (0.5 - reach, low),
        (0.5 - reach * 0.95, 0.35),
        (0.5, rng.uniform(0.06, 0.12)),
        (0.5 + reach * 0.95, 0.35),
        (0.5 + reach, low),
    ]
    figure.lay(
        figure.line(curve(bow, closed=False), rng.uniform(0.05, 0.09)),
        clip(paint * (1.15 - 0.5 * figure.y)[..., None] + 0 * figure.x[..., None]),
    )
    for middle in (0.5 - reach + 0.03, 0.5 + reach - 0.03):
        shell = figure.ellipse((middle, low + 0.05), (0.125, 0.22))
        glow = 1.2 - 1.2 * np.hypot(figure.x - middle + 0.04, figure.y - low)
        figure.lay(shell, clip(paint * glow[..., None]))
        figure.tint(figure.ellipse((middle, low + 0.05), (0.07, 0.13)), paint * float(rng.uniform(0.4, 1.3)))
    return figure.finish(base=min(1.0, low + 0.27))
