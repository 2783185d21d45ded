"""What a region is filled with before it is repainted: the colours around it, carried on."""

from __future__ import annotations

from typing import Final

import numpy as np

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask, frozen_array
from inpaint_server.imaging.mask import THRESHOLD
from inpaint_server.imaging.neighbourhood import Float32Array, box_mean

_ENOUGH: Final = 1 / 8
"""Share of a neighbourhood that has to be known before its mean counts in full."""


def fill_from_surroundings(canvas: Pixels, mask: PaintMask, product: ProductMask) -> Pixels:
    """The canvas with what is repainted replaced by the colours around it, smooth from the edge inwards.

    Means over neighbourhoods that double in size, the smallest that knows enough first: the pull and push of Gortler et
    al., The Lumigraph, 1996, section 3.4.2, without the pyramid.

    Args:
        canvas: H x W x 3.
        mask: What is repainted.
        product: Its colours are not carried into the scene.
    """
    repainted = mask >= THRESHOLD
    known: Float32Array = (~repainted & (product < THRESHOLD))[..., None].astype(np.float32)
    if not known.any():
        return canvas
    values: Float32Array = (canvas * known).astype(np.float32)
    colours: Float32Array = np.zeros(canvas.shape, np.float32)
    decided: Float32Array = np.zeros((*canvas.shape[:2], 1), np.float32)
    radius = 2
    while radius < 2 * max(canvas.shape) and (decided[repainted] < 1).any():
        share = box_mean(known, radius)
        mean: Float32Array = (box_mean(values, radius) / np.maximum(share, 1e-6)).astype(np.float32)
        weight: Float32Array = ((1 - decided) * np.minimum(share / _ENOUGH, 1)).astype(np.float32)
        np.add(colours, weight * mean, out=colours)
        np.add(decided, weight, out=decided)
        radius *= 2
    fill = np.rint(np.clip(colours / np.maximum(decided, 1e-6), 0, 255)).astype(np.uint8)
    return Pixels(frozen_array(np.where(repainted[..., None], fill, canvas)))
