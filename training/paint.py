"""The primitives every picture is painted with: noise, gradients, blends, blur.

A picture is H x W x 3 floats in [0, 1]; a field (height, weight, distance) is H x W floats; both float32 once kept.
Lengths on the canvas are in heights: y runs from 0 at the top to 1 at the bottom, x from 0 to width / height.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

Array: TypeAlias = NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int, int]


def grid(shape: Shape) -> tuple[Array, Array]:
    """Coordinates of the pixels' centres.

    Returns:
        y of shape (H, 1) and x of shape (1, W), in heights of the canvas.
    """
    height, width = shape
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    x = (np.arange(width, dtype=np.float32) + 0.5) / height
    return y[:, None], x[None, :]


def noise(rng: Generator, shape: Shape, slope: float = 2.0, stretch: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Periodic 1/f noise.

    Args:
        rng: Source of the noise.
        shape: Height and width of the answer.
        slope: 0 gives grain, 2 clouds, 4 soft hills.
        stretch: How much longer the features are along y and along x.

    Returns:
        Field with mean 0 and standard deviation 1.
    """
    height, width = shape
    side = max(shape)
    vertical = fft.fftfreq(height).astype(np.float32)[:, None] * stretch[0] * height / side
    horizontal = fft.rfftfreq(width).astype(np.float32)[None] * stretch[1] * width / side
    frequency = np.hypot(vertical * side, horizontal * side)
    frequency[0, 0] = 1
    amplitude = frequency ** np.float32(-slope / 2)
    amplitude[0, 0] = 0
    spectrum = np.asarray(fft.rfft2(rng.standard_normal(shape, dtype=np.float32))) * amplitude
    field = np.asarray(fft.irfft2(spectrum, s=shape), np.float32)
    return field / (field.std() + 1e-6)


def clip(values: ArrayLike) -> Array:
    """Limits values to [0, 1]."""
    return np.clip(np.asarray(values, np.float32), 0, 1)


def smooth(edge0: float, edge1: float, values: Array) -> Array:
    """Rises from 0 at `edge0` to 1 at `edge1` without a kink; falls where `edge0` is the larger."""
    t = clip((values - edge0) / (edge1 - edge0))
    return t * t * (3 - 2 * t)


def mix(below: Array, above: Array | float, weight: Array | float) -> Array:
    """Blends two pictures or colours; the weight is a number or a field in [0, 1]."""
    if isinstance(weight, np.ndarray) and weight.ndim == 2:
        weight = weight[..., None]
    return np.asarray(below + (above - below) * weight, np.float32)


def colour(code: str) -> Array:
    """Reads '#rrggbb' into RGB in [0, 1], shape (3,)."""
    return np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)], np.float32) / 255


def vary(rng: Generator, base: Array, amount: float = 0.06) -> Array:
    """A colour near another: brighter or darker by `amount`, tinted by a third as much."""
    return clip(base * (1 + rng.normal(0, amount)) + rng.normal(0, amount / 3, 3))


def pick(rng: Generator, *codes: str, amount: float = 0.06) -> Array:
    """One of several colours, varied."""
    return vary(rng, colour(str(rng.choice(codes))), amount)


def fill(shape: Shape, paint: Array) -> Array:
    """A picture of one colour."""
    return np.broadcast_to(paint, (*shape, 3)).astype(np.float32)


def ramp(position: Array, colours: Sequence[Array]) -> Array:
    """Gradient through evenly spaced colours.

    Args:
        position: Field in [0, 1]; 0 is the first colour and 1 the last.
        colours: At least two.
    """
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(position, stops, [paint[index] for paint in colours]) for index in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def blur(values: Array, sigma: float) -> Array:
    """Gaussian blur of a picture or a field, sigma in pixels."""
    if sigma < 0.15:
        return values
    sigmas = (sigma, sigma, 0) if values.ndim == 3 else (sigma, sigma)
    return ndimage.gaussian_filter(values, sigmas, mode="nearest", truncate=3.0)


def scatter(rng: Generator, field: Array, count: int, radius: tuple[float, float], *, hard: float = 1.0) -> Array:
    """Adds round discs of random strength, as out-of-focus lights make them.

    Args:
        rng: Source of places, radii and strengths.
        field: Gives the shape; left as it is.
        count: How many discs.
        radius: Smallest and largest radius in heights of the canvas.
        hard: Width of the discs' edges in pixels.

    Returns:
        Field of the discs' summed strengths, from 0 up.
    """
    height, width = field.shape
    answer = np.zeros_like(field)
    for _ in range(count):
        size = rng.uniform(*radius) * height
        centre_y, centre_x = rng.uniform(0, height), rng.uniform(0, width)
        top, bottom = int(max(0, centre_y - size - 2)), int(min(height, centre_y + size + 3))
        left, right = int(max(0, centre_x - size - 2)), int(min(width, centre_x + size + 3))
        rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
        distance = np.hypot(rows - centre_y, columns - centre_x)
        answer[top:bottom, left:right] += clip((size - distance) / hard) * np.float32(rng.uniform(0.25, 1))
    return answer


def box(shape: Shape, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """The pixels of a rectangle given in heights of the canvas, cut to the canvas."""
    height, width = shape
    rows = slice(max(0, round(top * height)), max(0, min(height, round(bottom * height))))
    columns = slice(max(0, round(left * height)), max(0, min(width, round(right * height))))
    return rows, columns


def to_bytes(picture: Array) -> NDArray[np.uint8]:
    """Rounds a picture to uint8 in [0, 255]."""
    return np.round(clip(picture) * 255).astype(np.uint8)
