"""What a camera does to a picture: framing, focus, exposure, colour, noise, compression."""

import io

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from training.paint import blur, clip, noise, to_bytes


def develop(rng: Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Takes a rendered picture as a camera would.

    Args:
        rng: Draws every effect, most of them mild.
        picture: (H, W, 3) uint8; left as it is.
    """
    values = picture.astype(np.float32) / 255
    if rng.random() < 0.25:
        values = values[..., rng.permutation(3)]
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * np.float32(rng.uniform(0.3, 1.3))
    values = np.float32(rng.uniform(0.75, 1.3)) * clip(values) ** np.float32(rng.uniform(0.7, 1.5))
    values = values * (1 + rng.normal(0, 0.07, 3)).astype(np.float32)
    if rng.random() < 0.4:
        values = values + (rng.normal(0, 0.08) * noise(rng, values.shape[:2], 4.0))[..., None].astype(np.float32)
    values = blur(clip(values), float(rng.uniform(0, 1.3)))
    grain = rng.standard_normal(values.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.035))
    taken = to_bytes(values + grain)
    return compress(taken, int(rng.integers(35, 96))) if rng.random() < 0.5 else taken


def compress(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Through JPEG and back."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def frame(
    rng: Generator, picture: NDArray[np.uint8], mask: NDArray[np.uint8], *, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cuts a photo out of a picture so that the product stands near its centre, in any common shape.

    Args:
        rng: Draws shape, tightness, place and mirroring.
        picture: (H, W, 3) uint8.
        mask: (H, W) uint8, 255 where the product is.
        side: Longer side of the photo in pixels.

    Returns:
        Photo and mask, both of one size.
    """
    rows, columns = np.flatnonzero(mask.max(axis=1)), np.flatnonzero(mask.max(axis=0))
    centre = np.array([rows[0] + rows[-1], columns[0] + columns[-1]]) / 2
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    aspect = rng.choice([1.0, 1.0, 1.25, 4 / 3, 1.5, 0.8, 0.75, 2 / 3])
    wanted = longest / rng.uniform(0.45, 1.0) * np.array([min(1, 1 / aspect), min(1, aspect)])
    size = np.minimum(np.maximum(wanted, 0.3 * longest), mask.shape)
    start = np.clip(centre - size / 2 + rng.normal(0, 0.06, 2) * size, 0, np.array(mask.shape) - size)
    top, left = start
    height, width = np.maximum(1, np.round(size * side / size.max()).astype(int))
    source = (left, top, left + size[1], top + size[0])
    photo = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC, box=source)
    outline = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR, box=source)
    cut, kept = np.asarray(photo), np.where(np.asarray(outline) >= 128, 255, 0).astype(np.uint8)
    return (cut[:, ::-1], kept[:, ::-1]) if rng.random() < 0.5 else (cut, kept)
