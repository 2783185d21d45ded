"""Segment Anything's small masks at their photo's size: NumPy's work, for the thread of the request that asked."""

from __future__ import annotations

import numpy as np

from inpaint_server.domain.arrays import frozen_array
from inpaint_server.domain.calls import MaskLogits, MaskProposals
from inpaint_server.imaging.neighbourhood import Float32Array


def propose_masks(found: MaskLogits) -> MaskProposals:
    """The masks at the photo's size, as the published model enlarges them: to its own input's size, and from there."""
    height, width = found.logits.shape[1:]
    rows = _enlargement(height, found.padded_side, found.resized.height, found.photo.height)
    columns = _enlargement(width, found.padded_side, found.resized.width, found.photo.width).T
    masks = np.empty((3, found.photo.height, found.photo.width), np.uint8)
    for mask, logits in zip(masks, found.logits, strict=True):  # one at a time: a large photo's logits are large
        np.multiply(rows @ logits @ columns > 0, np.uint8(255), out=mask)
    return MaskProposals(masks=frozen_array(masks), scores=found.scores)


def _enlargement(small: int, padded: int, resized: int, photo: int) -> Float32Array:
    """`photo` x `small`: enlarges one axis to `padded`, cuts it off at `resized`, and enlarges that to `photo`."""
    return _bilinear(resized, photo) @ _bilinear(small, padded)[:resized]


def _bilinear(before: int, after: int) -> Float32Array:
    """`after` x `before`: interpolates between the centres of cells, and repeats them beyond the border."""
    places = ((np.arange(after) + 0.5) * (before / after) - 0.5).clip(0, before - 1)
    first = places.astype(np.intp)
    matrix = np.zeros((after, before), np.float32)
    every = np.arange(after)
    matrix[every, first] = 1 - (places - first)
    matrix[every, np.minimum(first + 1, before - 1)] += places - first
    return matrix
