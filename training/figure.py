"""Drawing one product: layers of colour laid over each other, with the exact outline kept beside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import PchipInterpolator, splev, splprep

from training.paint import Array, blur, clip, grid, mix, noise, pick

Points: TypeAlias = Sequence[tuple[float, float]]
Stroke: TypeAlias = Callable[[ImageDraw.ImageDraw, list[tuple[float, float]]], None]
OVERSAMPLING = 3
HUES = (
    *("#c0392b", "#2c5f9e", "#2f7d55", "#e0a72e", "#e8e4da", "#1f2023"),
    *("#6b4a8c", "#d98a9c", "#3f8f96", "#8a5a3a", "#7d8388", "#f4f3f0"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product on nothing.

    Attributes:
        pixels: (S, S, 3) float32 in [0, 1].
        alpha: (S, S) float32 in [0, 1]; 1 where the product is.
        opacity: (S, S) float32 in [0, 1]; below 1 where what is behind shines through, as through glass.
        base: y of the line it stands on, as a fraction of S; 1 for most.
        lying: True for a thing seen from above, which casts no upright shadow.
    """

    pixels: Array
    alpha: Array
    opacity: Array
    base: float = 1.0
    lying: bool = False


class Figure:
    """A square sheet on which a product is drawn; lengths are fractions of its side, points are (x, y)."""

    def __init__(self, side: int) -> None:
        """An empty sheet of `side` pixels."""
        self.side = side
        self.y, self.x = grid((side, side))
        self.pixels: Array = np.zeros((side, side, 3), np.float32)
        self.alpha: Array = np.zeros((side, side), np.float32)
        self.opacity: Array = np.ones((side, side), np.float32)

    def lay(self, cover: Array, paint: Array, *, opacity: float = 1.0) -> None:
        """Lays a colour or a picture over what is there, and adds its outline to the product's.

        Args:
            cover: (S, S) in [0, 1].
            paint: RGB colour, or picture (S, S, 3).
            opacity: How much of what is behind the product this layer hides.
        """
        self.tint(cover, paint, into=np.ones_like(cover))
        self.opacity = mix(self.opacity[..., None], opacity, cover)[..., 0]
        self.alpha = self.alpha + cover * (1 - self.alpha)

    def tint(self, cover: Array, paint: Array, *, into: Array | None = None) -> None:
        """Colours what is there already, or only where `into` is 1."""
        weight = cover * (np.minimum(1, self.alpha * 50) if into is None else into)
        self.pixels = mix(self.pixels, np.broadcast_to(paint, self.pixels.shape), weight)

    def shade(self, light: Array) -> None:
        """Multiplies what is there by a field of light."""
        self.pixels = clip(self.pixels * np.broadcast_to(light, self.alpha.shape)[..., None])

    def polygon(self, points: Points) -> Array:
        """Coverage of a polygon, with smooth edges."""
        return self._drawn(lambda draw, places: draw.polygon(places, fill=255), points)

    def line(self, points: Points, width: float) -> Array:
        """Coverage of a line through points, with round joints; the width is a fraction of the side."""
        half = width * self.side * OVERSAMPLING / 2

        def stroke(draw: ImageDraw.ImageDraw, places: list[tuple[float, float]]) -> None:
            draw.line(places, fill=255, width=max(1, round(2 * half)))
            for x, y in places:
                draw.ellipse((x - half, y - half, x + half, y + half), fill=255)

        return self._drawn(stroke, points)

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
        """Coverage of an upright ellipse."""
        distance = np.hypot((self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1])
        return clip((1 - distance) * min(radii) * self.side + 0.5)

    def bar(self, left: float, top: float, right: float, bottom: float) -> Array:
        """Coverage of an upright rectangle."""
        across = np.minimum(self.x - left, right - self.x) * self.side + 0.5
        down = np.minimum(self.y - top, bottom - self.y) * self.side + 0.5
        return clip(across) * clip(down)

    def grain(self, rng: Generator, slope: float, stretch: tuple[float, float] = (1, 1)) -> Array:
        """Noise over the sheet."""
        return noise(rng, (self.side, self.side), slope, stretch)

    def finish(self, *, base: float = 1.0, lying: bool = False) -> Product:
        """The product as drawn."""
        return Product(
            pixels=clip(self.pixels), alpha=clip(self.alpha), opacity=clip(self.opacity), base=base, lying=lying
        )

    def _drawn(self, stroke: Stroke, points: Points) -> Array:
        size = self.side * OVERSAMPLING
        sheet = Image.new("L", (size, size))
        stroke(ImageDraw.Draw(sheet), [(x * size, y * size) for x, y in points])
        return np.asarray(sheet.resize((self.side, self.side), Image.Resampling.BOX), np.float32) / 255


def any_hue(rng: Generator) -> Array:
    """A product's colour; black and white come often, as they do in shops."""
    return pick(rng, *HUES, "#18191b", "#232427", "#f1efec", amount=0.1)


def curve(points: Points, *, closed: bool = True, count: int = 160) -> list[tuple[float, float]]:
    """A smooth curve through points."""
    x, y = np.array(points, float).T
    if closed:
        x, y = np.append(x, x[0]), np.append(y, y[0])
    knots, _ = splprep([x, y], s=0, per=closed, k=min(3, len(x) - 1))
    across, down = splev(np.linspace(0, 1, count), knots)
    return list(zip(np.asarray(across).tolist(), np.asarray(down).tolist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """A body of revolution as the camera sees it, from slightly above.

    Attributes:
        cover: Coverage of the body, its visible top included.
        top: Coverage of the top's ellipse alone.
        across: Where round the body a pixel is, from -1 at the left edge to 1 at the right one.
        along: y of the ring a pixel belongs to.
    """

    cover: Array
    top: Array
    across: Array
    along: Array


def turn(figure: Figure, profile: Sequence[tuple[float, float]], *, tilt: float, middle: float = 0.5) -> Turned:
    """Turns a profile round an upright axis.

    Args:
        figure: Gives the sheet.
        profile: (y, radius) from the top down.
        tilt: Height of a ring's ellipse over its width, the sine of the camera's angle.
        middle: x of the axis.
    """
    heights, radii = np.array(profile, float).T
    radius_at = PchipInterpolator(heights, radii, extrapolate=False)
    across = figure.x - middle
    radius, ratio, along = np.float32(radii.max()), np.zeros_like(across), figure.y + 0 * across
    for _ in range(3):
        radius = np.maximum(radius_at(np.clip(along, heights[0], heights[-1])).astype(np.float32), 1e-3)
        ratio = np.clip(across / radius, -1, 1)
        along = figure.y - tilt * radius * np.sqrt(1 - ratio**2)
    inside = clip((radius - np.abs(across)) * figure.side + 0.5)
    ends = clip((along - heights[0]) * figure.side + 0.5) * clip((heights[-1] - along) * figure.side + 0.5)
    top = figure.ellipse((middle, heights[0]), (radii[0], max(tilt * radii[0], 1e-3)))
    return Turned(
        cover=np.maximum(inside * ends, top), top=top, across=ratio.astype(np.float32), along=along.astype(np.float32)
    )


def round_light(rng: Generator, across: Array, *, gloss: float, lamp: float) -> tuple[Array, Array]:
    """Light on a cylinder: what the colour is multiplied by, and the white glare laid over it.

    Args:
        rng: Draws the width and strength of the lamps' reflections.
        across: From -1 at the left edge to 1 at the right one.
        gloss: 0 for matte, 1 for polish.
        lamp: Where the main lamp stands, from -1 to 1.
    """
    angle = np.arcsin(np.clip(across, -1, 1))
    diffuse = 0.42 + 0.62 * np.maximum(0, np.cos(angle - lamp))
    rim = 1 - (0.2 + 0.25 * gloss) * np.abs(across) ** 5
    glare = rng.uniform(0.25, 0.7) * np.exp(-(np.abs((across - 0.7 * lamp) / rng.uniform(0.06, 0.16)) ** 4))
    back = rng.uniform(0, 0.35) * np.exp(-(((across + np.sign(lamp) * 0.82) / 0.07) ** 2))
    return np.asarray(diffuse * rim, np.float32), np.asarray(gloss * (glare + back), np.float32)


def soften(field: Array, sigma: float, side: int) -> Array:
    """Blurs by a fraction of the sheet's side."""
    return blur(field, sigma * side)


def as_mask(product: Product) -> NDArray[np.uint8]:
    """The exact mask: 255 where at least half a pixel is product."""
    return np.where(product.alpha >= 0.5, 255, 0).astype(np.uint8)
