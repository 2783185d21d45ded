"""Products turned round an axis: bottle, can, jar, vase, speaker with strap."""

import numpy as np
from numpy.random import Generator

from training.figure import Figure, Product, Turned, any_hue, curve, round_light, turn
from training.paint import Array, clip, mix, pick, smooth


def lay_body(figure: Figure, rng: Generator, body: Turned, paint: Array, gloss: float, lamp: float) -> None:
    """Lays a turned body in one colour, with light and glare."""
    light, glare = round_light(rng, body.across, gloss=gloss, lamp=lamp)
    lit = clip(np.broadcast_to(paint, (*light.shape, 3)) * light[..., None] + glare[..., None])
    figure.lay(body.cover, lit)


def lay_label(figure: Figure, rng: Generator, body: Turned, span: tuple[float, float], lamp: float) -> None:
    """Wraps a printed label round a body: a ground, a band and a few lines of pretended print."""
    top, bottom = span
    high = bottom - top
    light, _ = round_light(rng, body.across, gloss=0, lamp=lamp)
    angle = np.arcsin(np.clip(body.across, -1, 1))
    on_label = smooth(top - 0.004, top + 0.004, body.along) * smooth(bottom + 0.004, bottom - 0.004, body.along)
    ground, ink = any_hue(rng), any_hue(rng)
    print_ = np.broadcast_to(ground, (*light.shape, 3)).astype(np.float32)
    for row in np.linspace(top + 0.18 * high, bottom - 0.2 * high, int(rng.integers(2, 5))):
        reach, thick = rng.uniform(0.25, 0.8), rng.uniform(0.02, 0.12) * high
        mark = (np.abs(angle) < reach) & (np.abs(body.along - row) < thick)
        print_ = mix(print_, ink, mark.astype(np.float32) * float(rng.uniform(0.6, 1)))
    figure.tint(on_label * clip(body.cover * 2 - 1) * (1 - body.top), print_ * light[..., None])


def bottle(rng: Generator, side: int) -> Product:
    """A bottle with neck, cap and mostly a label; opaque or of glass."""
    figure, lamp, tilt = Figure(side), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.04, 0.25))
    wide, neck = rng.uniform(0.13, 0.24), rng.uniform(0.04, 0.085)
    shoulder, foot = rng.uniform(0.24, 0.42), 1 - tilt * wide - 0.004
    waist = wide * rng.uniform(0.85, 1.05)
    profile = [
        (0.1, neck),
        (shoulder - 0.08, neck * 1.05),
        (shoulder + 0.08, wide),
        (0.75, waist),
        (foot - 0.02, wide),
        (foot, 0.95 * wide),
    ]
    body = turn(figure, profile, tilt=tilt)
    paint, glass = any_hue(rng), rng.random() < 0.4
    lay_body(figure, rng, body, paint, float(rng.uniform(0.2, 1)), lamp)
    if glass:
        figure.opacity = mix(figure.opacity[..., None], float(rng.uniform(0.6, 0.85)), body.cover)[..., 0]
        figure.tint(clip(body.cover * smooth(shoulder, shoulder + 0.03, body.along) * 0.55), any_hue(rng) * 0.8)
    if rng.random() < 0.85:
        start = rng.uniform(shoulder + 0.1, 0.62)
        lay_label(figure, rng, body, (start, rng.uniform(start + 0.12, 0.9)), lamp)
        figure.opacity = np.maximum(figure.opacity, smooth(start, start + 0.01, body.along) * np.float32(0.95))
    cap = turn(figure, [(1.2 * tilt * neck + 0.01, neck * 1.15), (0.12, neck * 1.15), (0.16, neck * 1.18)], tilt=tilt)
    lay_body(figure, rng, cap, any_hue(rng), float(rng.uniform(0, 1)), lamp)
    return figure.finish()


def can(rng: Generator, side: int) -> Product:
    """A can, tin or tube with printed sides."""
    figure, lamp, tilt = Figure(side), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.08, 0.35))
    wide = rng.uniform(0.2, 0.44)
    top, foot = tilt * wide + 0.005, 1 - tilt * wide - 0.004
    body = turn(figure, [(top, wide * 0.93), (top + 0.04, wide), (foot - 0.04, wide), (foot, wide * 0.93)], tilt=tilt)
    lay_body(figure, rng, body, any_hue(rng), float(rng.uniform(0.3, 1)), lamp)
    lay_label(figure, rng, body, (top + rng.uniform(0.03, 0.25), foot - rng.uniform(0.02, 0.2)), lamp)
    lid = pick(rng, "#c9ccd0", "#a9adb3", "#2a2b2e", "#e7e3da")
    figure.tint(body.top, lid)
    figure.tint(body.top * figure.ellipse((0.5, top), (wide * 0.8, max(wide * 0.8 * tilt, 1e-3))), lid * 0.85)
    return figure.finish()


def jar(rng: Generator, side: int) -> Product:
    """A low jar with a wide lid, as for cream or jam; a candle without the lid."""
    figure, lamp, tilt = Figure(side), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.12, 0.35))
    wide, high = rng.uniform(0.36, 0.47), rng.uniform(0.45, 0.8)
    foot = 1 - tilt * wide - 0.004
    rim = foot - high + tilt * wide
    body = turn(figure, [(rim, wide * 0.9), (rim + 0.06, wide), (foot - 0.04, wide), (foot, wide * 0.94)], tilt=tilt)
    lay_body(figure, rng, body, any_hue(rng), float(rng.uniform(0.2, 1)), lamp)
    if rng.random() < 0.7:
        lay_label(figure, rng, body, (rim + 0.15, foot - 0.06), lamp)
    if rng.random() < 0.7:
        start = max(rim - 0.14, tilt * wide + 0.005)
        lid = turn(figure, [(start, wide * 0.93), (rim + 0.03, wide * 0.96)], tilt=tilt)
        paint = any_hue(rng)
        lay_body(figure, rng, lid, paint, float(rng.uniform(0, 1)), lamp)
        figure.tint(lid.top, clip(paint * 1.15 + 0.03))
    else:
        figure.tint(body.top, pick(rng, "#f3ead6", "#e9d3b0", "#d9b6c0"))
    return figure.finish()


def vase(rng: Generator, side: int) -> Product:
    """A vase of a free profile."""
    figure, lamp, tilt = Figure(side), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.05, 0.25))
    radii = rng.uniform(0.12, 0.42, 5)
    heights = np.linspace(tilt * radii[0] + 0.01, 1 - tilt * radii[-1] - 0.004, 5)
    body = turn(figure, list(zip(heights, radii, strict=True)), tilt=tilt)
    lay_body(figure, rng, body, any_hue(rng), float(rng.uniform(0, 1)), lamp)
    if rng.random() < 0.5:
        bands = (np.sin(body.along * rng.uniform(30, 90)) > rng.uniform(-0.2, 0.8)).astype(np.float32)
        figure.tint(bands * body.cover * float(rng.uniform(0.2, 0.7)), any_hue(rng))
    figure.tint(body.top, figure.pixels * 0.45)
    return figure.finish()


def speaker(rng: Generator, side: int) -> Product:
    """A small cylindrical speaker, mostly black, with a grille, a slot and mostly a strap hanging down in a loop."""
    figure, lamp, tilt = Figure(side), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.05, 0.2))
    has_strap = rng.random() < 0.75
    wide = rng.uniform(0.25, 0.33) if has_strap else rng.uniform(0.3, 0.45)
    middle = 0.98 - wide if has_strap else 0.5
    paint = pick(rng, "#161718", "#202124", "#2b2c2f", "#1a1b1d") if rng.random() < 0.65 else any_hue(rng)
    top, foot = (
        rng.uniform(0.03, 0.12) + tilt * wide,
        1 - tilt * wide - 0.004 - (rng.uniform(0.0, 0.2) if has_strap else 0),
    )
    if has_strap:
        _strap(figure, rng, (middle - 0.93 * wide, top + 0.06), paint)
    body = turn(
        figure,
        [(top, wide * 0.85), (top + 0.035, wide * 0.98), (foot - 0.05, wide), (foot, wide * 0.9)],
        tilt=tilt,
        middle=middle,
    )
    lay_body(figure, rng, body, paint, float(rng.uniform(0.05, 0.5)), lamp)
    mesh = np.sin(figure.x * rng.uniform(250, 420)) * np.sin(figure.y * rng.uniform(250, 420))
    figure.tint(body.top, clip(paint * (0.9 + 0.25 * mesh[..., None])))
    if rng.random() < 0.5:
        figure.shade(1 + 0.25 * mesh * smooth(0.3, 0.2, np.abs(body.along - 0.5)) * body.cover)
    if rng.random() < 0.7:
        slot = figure.line([(middle - 0.6 * wide, foot - 0.04), (middle + 0.1 * wide, foot - 0.03)], 0.05)
        figure.tint(slot, paint * 0.3)
    return figure.finish(base=min(1.0, foot + tilt * wide))


def _strap(figure: Figure, rng: Generator, start: tuple[float, float], paint: Array) -> None:
    """A woven loop from the body's shoulder down to the ground; the hole in the loop stays open."""
    x, y = start
    low, end = rng.uniform(0.85, 0.97), x - rng.uniform(0.15, 0.32)
    mid = (y + low) / 2
    outer = [
        (x + 0.03, y),
        (x - 0.08, y + 0.06),
        (x - rng.uniform(0.1, 0.16), mid),
        (end + 0.05, low - 0.08),
        (max(end, 0.04), low),
    ]
    inner = [
        (x + 0.03, y + 0.06),
        (x - 0.03, y + 0.14),
        (x - rng.uniform(0.01, 0.06), mid + 0.05),
        (end + 0.16, low - 0.07),
        (max(end, 0.04) + 0.02, low),
    ]
    weave = 1 + 0.35 * np.sin((figure.x + figure.y) * 300) + 0.12 * figure.grain(rng, 0.5)
    for points in (inner, outer):
        band = figure.line(curve(points, closed=False), rng.uniform(0.03, 0.055))
        figure.lay(band, clip((paint + 0.05) * weave[..., None] * rng.uniform(0.8, 1.3)))
