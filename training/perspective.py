"""Laying a flat material down in perspective, as a lens with a shallow focus sees it."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from training.paint import Array, Shape, blur, grid
from training.surfaces import TILE, Material


def lay(material: Material, rng: Generator, shape: Shape, *, edge: float, focus: float) -> Array:
    """Lays a material down below its far edge, seen in perspective by a lens with a shallow focus.

    Args:
        material: What is laid.
        rng: Draws the camera's height and the tile's place.
        shape: Height and width of the canvas.
        edge: y of the far edge in heights of the canvas; 0 or less covers the canvas.
        focus: y that is sharp, in heights of the canvas.

    Returns:
        The canvas covered with the surface from a little above its far edge down, and black above.
    """
    height, width = shape
    y, x = grid(shape)
    horizon = edge - rng.uniform(0.04, 0.12) if material.ground else edge - rng.uniform(0.15, 0.45)
    distance = (1 - horizon) / np.maximum(y - horizon, 0.35 * max(edge - horizon, 0.05))
    tilt = rng.uniform(0.35, 0.8)
    zoom = rng.uniform(0.8, 1.3) * 256
    across = (x - width / height * rng.uniform(0.3, 0.7)) * distance * zoom + rng.uniform(0, TILE)
    along = -(1 - horizon) * distance * zoom / tilt + rng.uniform(0, TILE) + 0 * x
    softness = np.log2(np.maximum(distance, 1)) * 0.8 + rng.uniform(1.5, 4) * np.abs(y - focus)
    first = max(0, int((edge - 0.1) * height))
    answer = np.zeros((height, width, 3), np.float32)
    answer[first:] = _sample(material.pixels, along[first:], across[first:], (softness + 0 * x)[first:], 256 / height)
    return answer


def _sample(tile: Array, along: Array, across: Array, softness: Array, coarse: float) -> Array:
    """Reads a seamless tile at fractional places, out of ever softer copies where it is far or out of focus."""
    levels = [blur(tile, sigma) for sigma in (0.5 * coarse, 1.6, 4.5, 11)]
    weights = [np.maximum(0, 1 - np.abs(np.minimum(softness, 3) - level)) for level in range(len(levels))]
    answer = np.zeros((*softness.shape, 3), np.float32)
    for level, weight in zip(levels, weights, strict=True):
        rows = np.flatnonzero(weight.max(axis=1))
        if not rows.size:
            continue
        span = slice(rows[0], rows[-1] + 1)
        places = np.stack([along[span], across[span]])
        for channel in range(3):
            values = ndimage.map_coordinates(level[..., channel], places, order=1, mode="grid-wrap")
            answer[span, :, channel] += values * weight[span]
    return answer
