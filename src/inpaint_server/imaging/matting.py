"""From a segmenter's blocky mask to the product's own outline, at the photo's resolution."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Box, Size
from inpaint_server.imaging.mask import THRESHOLD, bounding_box
from inpaint_server.imaging.neighbourhood import Float32Array, box_mean

_REACH: Final = 0.045
"""How far the true outline may lie from the mask's, fraction of the longer side of the product's box."""

_WORKING_SIDE: Final = 256
"""The filter's coefficients are found on a copy no larger than this, and applied to the photo itself."""

_EPSILON: Final = 1e-4
"""Variance of colour, in [0, 1], below which a neighbourhood counts as flat and the mask is only smoothed."""

_CONTRAST: Final = (0.1, 0.9)
"""Opacities of the filter's answer that become 0 and 1."""


def refine(photo: Pixels, mask: ProductMask) -> ProductMask:
    """Move a found mask's edge to the edge in the photo, and make it soft where the photo's is.

    A colour-guided filter (He, Sun and Tang, Guided Image Filtering, 2013, section 3.5), its coefficients found on a
    smaller copy (He and Sun, Fast Guided Filter, 2015). Further from the edge than the segmenter can be wrong by, the
    mask stays as it is.

    Args:
        photo: H x W x 3.
        mask: H x W, 255 = product; an empty one is given back.
    """
    if not (mask >= THRESHOLD).any():
        return mask
    box = _with_margin(bounding_box(mask), mask.shape)
    guide, rough = photo[box.slices], mask[box.slices]
    scale = min(1.0, _WORKING_SIDE / max(rough.shape))
    size = Size(height=max(1, round(rough.shape[0] * scale)), width=max(1, round(rough.shape[1] * scale)))
    radius = max(2, round(_REACH * max(size.height, size.width)))
    small_guide, small_mask = _resized(guide, size), _resized(rough, size)
    slope, offset = _coefficients(small_guide, small_mask, radius)
    opacity = _applied(guide, slope, offset)
    low, high = _CONTRAST
    opacity = np.clip((opacity - low) / (high - low), 0, 1)
    share = _upscaled(box_mean(small_mask[..., None], radius)[..., 0], rough.shape)
    undecided = (share > 0.01) & (share < 0.99)
    refined = mask.copy()
    refined[box.slices] = np.where(undecided, np.rint(255 * opacity), rough).astype(np.uint8)
    return ProductMask(frozen_array(refined))


def _with_margin(box: Box, shape: tuple[int, ...]) -> Box:
    margin = 2 + round(2 * _REACH * max(box.size.height, box.size.width))
    return Box(
        left=max(0, box.left - margin),
        top=max(0, box.top - margin),
        right=min(shape[1], box.right + margin),
        bottom=min(shape[0], box.bottom + margin),
    )


def _coefficients(guide: Float32Array, mask: Float32Array, radius: int) -> tuple[Float32Array, Float32Array]:
    """The linear model of opacity by colour round each pixel (equations 14, 15).

    Returns:
        Slope, h x w x 3, and offset, h x w.
    """
    mean, level = box_mean(guide, radius), box_mean(mask[..., None], radius)
    both = box_mean(guide * mask[..., None], radius) - mean * level
    pairs = box_mean((guide[..., :, None] * guide[..., None, :]).reshape(*mask.shape, 9), radius)
    variance = pairs.reshape(*mask.shape, 3, 3) - mean[..., :, None] * mean[..., None, :]
    slope = np.linalg.solve(variance + _EPSILON * np.eye(3, dtype=np.float32), both[..., None])[..., 0]
    offset = level[..., 0] - (slope * mean).sum(axis=-1)
    return box_mean(slope, radius), box_mean(offset[..., None], radius)[..., 0]


def _applied(guide: UInt8Array, slope: Float32Array, offset: Float32Array) -> Float32Array:
    """The model on the photo itself, one channel at a time: a large photo's floats are large."""
    answer = _upscaled(offset, guide.shape)
    for channel in range(3):
        answer += _upscaled(slope[..., channel], guide.shape) * (guide[..., channel] * np.float32(1 / 255))
    return answer


def _resized(picture: UInt8Array, size: Size) -> Float32Array:
    small = Image.fromarray(picture).resize((size.width, size.height), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) * np.float32(1 / 255)


def _upscaled(values: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    picture = Image.fromarray(np.ascontiguousarray(values))
    return np.array(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), dtype=np.float32)
