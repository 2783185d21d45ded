"""The product mirrored in what it stands on, where that is glossy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.imaging.layers import coverage_on_canvas
from inpaint_server.imaging.neighbourhood import box_mean

_DEPTH: Final = 0.35
"""How far down the mirror image is visible, fraction of the product's height; it fades out linearly."""

_BLUR: Final = 0.006
"""Its blur, fraction of the product's longer side: no table is a mirror."""


def cast_reflection(canvas: Pixels, placed: PlacedProduct, strength: float) -> Pixels:
    """Mirror the product's lowest part in the ground below it; lay the product over it afterwards.

    Every column is mirrored at its own lowest pixel, so that a round foot meets its image.

    Args:
        canvas: H x W x 3.
        placed: The product on it.
        strength: How much of the product is visible at its foot, 0 to 1; 0 gives the canvas itself.
    """
    if strength == 0:
        return canvas
    depth = max(1, round(_DEPTH * placed.box.size.height))
    room = np.arange(depth)[:, None]
    foot = placed.box.size.height - 1 - np.argmax(placed.mask[::-1] > 0, axis=0)  # lowest row of the product, a column
    mirrored, columns = np.clip(foot - room, 0, None), np.arange(placed.box.size.width)
    shown = np.minimum(
        placed.mask, coverage_on_canvas(placed)[placed.box.slices]
    )  # a cut-out's glass lets light through
    picture, mask = placed.pixels[mirrored, columns], shown[mirrored, columns]
    fade = strength * (1 - room / depth) * (mask / 255.0)
    below: NDArray[np.float32] = np.zeros((placed.canvas.height, placed.canvas.width, 4), np.float32)
    rows = placed.box.top + foot + 1 + room
    inside = rows < placed.canvas.height
    across = np.broadcast_to(placed.box.left + columns, rows.shape)
    below[rows[inside], across[inside], :3] = (picture * fade[..., None])[inside]
    below[rows[inside], across[inside], 3] = fade[inside]
    radius = max(1, round(_BLUR * max(placed.mask.shape)))
    soft = box_mean(box_mean(below, radius), radius)  # nearly a Gaussian
    return Pixels(frozen_array(np.rint(canvas * (1 - soft[..., 3:]) + soft[..., :3]).astype(np.uint8)))
