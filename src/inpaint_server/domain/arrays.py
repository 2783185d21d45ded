"""Pictures and masks as arrays: distinct types, read-only."""

from __future__ import annotations

from typing import NewType

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]


Pixels = NewType("Pixels", UInt8Array)
"""H x W x 3 uint8, RGB, [0, 255]."""


ProductMask = NewType("ProductMask", UInt8Array)
"""H x W uint8; 255 = product, 0 = anything else, in between = the soft edge (matte)."""


PaintMask = NewType("PaintMask", UInt8Array)
"""H x W uint8, 0 or 255; 255 = repaint, 0 = keep: the inpainting model's polarity."""


def frozen_array(array: UInt8Array) -> UInt8Array:
    """Return a contiguous, read-only array of the same values (a copy only where one is needed)."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
