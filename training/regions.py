"""Which part of a canvas is repainted: the masks that the pipeline's passes use, and holes."""

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

REGIONS: Mapping[str, float] = {"lower": 0.24, "upper": 0.2, "around": 0.11, "hole": 0.45}
"""Each region's share of the training; the whole canvas, which needs no context, is drawn apart from these."""

WITHOUT_PRODUCT = frozenset({"hole"})
"""Regions painted on the bare scene: what fills a hole is to come from around it, never to be a product."""


def paint_mask(rng: Generator, region: str, product: NDArray[np.uint8], split: int) -> NDArray[np.bool_]:
    """Where the canvas is repainted.

    Args:
        rng: Draws the holes, and how far the masks grow into the product as feathering makes them do.
        region: One of REGIONS.
        product: (H, W) uint8, 255 where the product is kept.
        split: y of the line between lower and upper layer, in pixels.

    Returns:
        (H, W) bool, True where it is repainted.
    """
    rows = np.arange(product.shape[0])[:, None]
    free = product == 0
    if region == "lower":
        return free & (rows >= split)
    if region == "upper":
        return free & (rows < split)
    if region == "around":
        return free
    return _hole(rng, product.shape)


def _hole(rng: Generator, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A rectangle or an ellipse somewhere in the canvas."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    centre_y, centre_x = rng.uniform(0.15, 0.85) * height, rng.uniform(0.15, 0.85) * width
    radius_y, radius_x = rng.uniform(0.1, 0.35) * height, rng.uniform(0.1, 0.35) * width
    down, across = (rows - centre_y) / radius_y, (columns - centre_x) / radius_x
    if rng.random() < 0.5:
        return (np.abs(down) < 1) & (np.abs(across) < 1)
    return down**2 + across**2 < 1
