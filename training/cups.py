"""Cups: a mug, and a cup on its saucer seen from above."""

import numpy as np
from numpy.random import Generator

from training.figure import HUES, Figure, Product, any_hue, curve, round_light, turn
from training.paint import clip, colour, pick, smooth
from training.vessels import lay_body, lay_label


def mug(rng: Generator, side: int) -> Product:
    """A mug with a handle, open at the top, with something to drink in it."""
    figure, lamp, tilt = Figure(side), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.12, 0.4))
    wide = rng.uniform(0.27, 0.36)
    middle = 0.98 - wide - rng.uniform(0, 0.02)
    lower = wide * rng.uniform(0.7, 1.0)
    top, foot = tilt * wide + 0.01, 1 - tilt * lower - 0.004
    paint, gloss = any_hue(rng), float(rng.uniform(0.2, 1))
    left = middle - wide
    loop = curve(
        [
            (left + 0.06, top + 0.14),
            (left - 0.12, top + 0.16),
            (left - 0.2, (top + foot) / 2),
            (left - 0.1, foot - 0.2),
            (left + 0.07, foot - 0.2),
        ],
        closed=False,
    )
    handle = figure.line(loop, rng.uniform(0.05, 0.085))
    figure.lay(handle, paint * 0.8)
    body = turn(
        figure,
        [(top, wide), ((top + foot) / 2, wide + 0.35 * (lower - wide)), (foot - 0.04, lower), (foot, lower * 0.94)],
        tilt=tilt,
        middle=middle,
    )
    lay_body(figure, rng, body, paint, gloss, lamp)
    if rng.random() < 0.4:
        lay_label(figure, rng, body, (top + 0.25, foot - 0.15), lamp)
    _opening(figure, rng, (middle, top), wide, tilt)
    return figure.finish()


def _opening(figure: Figure, rng: Generator, centre: tuple[float, float], wide: float, tilt: float) -> None:
    """Draws a cup's rim, its inner wall and the drink."""
    inside = pick(rng, "#f2efe9", "#e9e4da", "#3a3a3d", "#f7f5f1")
    x, y = centre
    figure.tint(figure.ellipse((x, y), (wide, wide * tilt)), clip(inside * 1.05))
    hole = figure.ellipse((x, y + 0.004), (wide * 0.92, wide * 0.92 * tilt))
    figure.tint(hole, inside * (0.6 + 0.35 * smooth(x - wide, x + wide, figure.x))[..., None])
    drink = figure.ellipse((x, y + 0.3 * wide * tilt + 0.02), (wide * 0.84, wide * 0.8 * tilt))
    figure.tint(hole * drink, pick(rng, "#4a2c18", "#8a5a2e", "#b98046", "#6a7a2e", "#e8dcc8"))


def cup_on_saucer(rng: Generator, side: int) -> Product:
    """A cup on its saucer seen from above, perhaps with a spoon."""
    figure = Figure(side)
    tilt = rng.uniform(0.62, 0.95)
    plate, paint = 0.49, any_hue(rng)
    middle = (0.5, 1 - plate * tilt - 0.005)
    slope = np.hypot(figure.x - middle[0], (figure.y - middle[1]) / tilt) / plate
    shine = 0.8 + 0.25 * (middle[0] - figure.x) * rng.uniform(-1, 1) + 0.12 * np.cos(slope * 9)
    figure.lay(figure.ellipse(middle, (plate, plate * tilt)), clip(paint * shine[..., None]))
    figure.tint(
        figure.ellipse(middle, (plate, plate * tilt)) * smooth(0.035, 0.01, np.abs(slope - rng.uniform(0.88, 0.95))),
        clip(paint * 1.4 + 0.1),
    )
    wide = plate * rng.uniform(0.45, 0.62)
    rim = (middle[0] + rng.uniform(-0.05, 0.05), middle[1] - rng.uniform(0.1, 0.26))
    shadow = figure.ellipse((rim[0] + 0.04, middle[1] + 0.06), (wide * 1.05, wide * tilt))
    figure.tint(0.45 * shadow, paint * 0.2)
    shell = pick(rng, *HUES) if rng.random() < 0.4 else paint
    reach = wide + rng.uniform(0.08, 0.16)
    angle = rng.uniform(0, np.pi)
    figure.lay(
        figure.line(
            [rim, (rim[0] - np.cos(angle) * reach, rim[1] + 0.15 + np.sin(angle) * reach * tilt)],
            rng.uniform(0.06, 0.1),
        ),
        shell * 0.85,
    )
    light, glare = round_light(
        rng, np.clip((figure.x - rim[0]) / wide, -1, 1) + 0 * figure.y, gloss=0.7, lamp=float(rng.uniform(-0.8, 0.8))
    )
    for step in np.linspace(1, 0, 12):
        ring = figure.ellipse((rim[0], rim[1] + step * 0.2), (wide * (1 - 0.3 * step), wide * tilt * (1 - 0.3 * step)))
        figure.lay(ring, clip(shell * light[..., None] + glare[..., None]))
    _opening(figure, rng, rim, wide, tilt)
    if rng.random() < 0.6:
        _spoon(figure, rng, middle, plate)
    return figure.finish(lying=True)


def _spoon(figure: Figure, rng: Generator, middle: tuple[float, float], plate: float) -> None:
    """A metal spoon laid on the saucer."""
    x, y = middle[0] + plate * rng.uniform(0.25, 0.55), middle[1] + plate * rng.uniform(0.1, 0.4)
    metal = clip(colour("#b9b9b6") * (0.75 + 0.3 * figure.grain(rng, 3.5))[..., None])
    figure.lay(figure.line([(x, y), (x + rng.uniform(-0.02, 0.12), y - rng.uniform(0.3, 0.5))], 0.03), metal)
    figure.lay(figure.ellipse((x, y), (0.075, 0.095)), metal)
