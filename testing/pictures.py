"""Small products and files that the tests of imaging share."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.product import Product
from inpaint_server.imaging.mask import find_product

LIMIT = 64_000_000


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    """A photo in which every pixel differs from its neighbours."""
    return Pixels(frozen_array(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)))


def rectangle(height: int, width: int, *, margin: int = 10) -> Product:
    """A product that fills its bounding box, in a photo with `margin` pixels around it."""
    mask = np.zeros((height + 2 * margin, width + 2 * margin), np.uint8)
    mask[margin : margin + height, margin : margin + width] = 255
    return find_product(noise(*mask.shape), ProductMask(mask))


def disc(diameter: int, *, margin: int = 10) -> Product:
    """A round product."""
    side = diameter + 2 * margin
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    mask = np.where(rows**2 + columns**2 <= (diameter / 2) ** 2, 255, 0).astype(np.uint8)
    return find_product(noise(side, side), ProductMask(mask))


def file(image: Image.Image | UInt8Array, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def brute_erosion(mask: UInt8Array, radius: int) -> UInt8Array:
    """Erosion straight from its definition; the picture's border is no edge."""
    inside = np.pad(mask >= 128, radius, constant_values=True)
    height, width = mask.shape
    eroded = np.ones((height, width), bool)
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            eroded &= inside[down : down + height, right : right + width]
    return np.where(eroded, 255, 0).astype(np.uint8)
