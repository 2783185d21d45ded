"""Segment Anything's small masks at their photo's size: NumPy's work, for the thread of the request that asked."""

from __future__ import annotations

import numpy as np

from inpaint_server.domain.arrays import frozen_array
from inpaint_server.domain.calls import MaskLogits, MaskProposals
from inpaint_server.imaging.neighbourhood import Float32Array


def propose_masks(found: MaskLogits) -> MaskProposals:
    """The masks at the photo's size, as the published model enlarges them: to its own input's size, and from there."""
    masks = np.empty((3, found.photo.height, found.photo.width), np.uint8)
    for mask, logits in zip(masks, found.logits, strict=True):  # one at a time: a large photo's logits are large
        columns = _enlarge(logits.T, found.padded_side, found.resized.width, found.photo.width)
        full = _enlarge(np.ascontiguousarray(columns.T), found.padded_side, found.resized.height, found.photo.height)
        np.multiply(full > 0, np.uint8(255), out=mask)
    return MaskProposals(masks=frozen_array(masks), scores=found.scores)


def _enlarge(rows: Float32Array, padded: int, resized: int, photo: int) -> Float32Array:
    """Rows interpolated to `padded` of them, cut off at `resized`, and these interpolated to `photo`."""
    return _bilinear(_bilinear(rows, padded)[:resized], photo)


def _bilinear(rows: Float32Array, number: int) -> Float32Array:
    """So many rows, interpolated between the centres of the given ones, which repeat beyond the border.

    By indexing: a product of matrices would wake a thread on every core, which the models' own threads occupy.
    """
    places = ((np.arange(number) + 0.5) * (len(rows) / number) - 0.5).clip(0, len(rows) - 1)
    above = places.astype(np.intp)
    result = rows[above]
    between = rows[np.minimum(above + 1, len(rows) - 1)]
    between -= result
    between *= (places - above).astype(np.float32)[:, None]
    result += between
    return result
