"""The product in its photo, and on the canvas."""

from __future__ import annotations

from dataclasses import dataclass

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Box, Placement, Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    """The product in its photo.

    Attributes:
        photo: The whole photo, H x W x 3.
        mask: The product in it, same H x W.
        box: The mask's bounding box.
    """

    photo: Pixels
    mask: ProductMask
    box: Box

    @property
    def size(self) -> Size:
        """The photo's size."""
        return Size(height=self.mask.shape[0], width=self.mask.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedProduct:
    """The product, resampled once to its size on the canvas, and nothing else.

    Attributes:
        pixels: h x w x 3, the photo's own pixels at the placed size.
        mask: h x w, the product's mask at the placed size.
        box: Where this rectangle lies on the canvas; its size is h x w.
        canvas: The canvas's size.
        placement: The same in the wire's words.
    """

    pixels: Pixels
    mask: ProductMask
    box: Box
    canvas: Size
    placement: Placement
