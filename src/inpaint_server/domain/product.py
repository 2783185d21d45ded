"""The product in its photo, and on the canvas."""

from __future__ import annotations

from dataclasses import dataclass

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Box, Placement, Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solid:
    """What stands and is placed of a product whose mask is coverage: without its soft fringe and its own shadow.

    Attributes:
        mask: H x W, 255 or 0, of the photo's size.
        extent: The box of all that has to lie inside the canvas: the solid part and the soft parts around it, but not
            the product's own shadow.
        mixed_edge: Whether some of an old background is in the colours of a smoothed outline: the photo was opaque.
    """

    mask: ProductMask
    extent: Box
    mixed_edge: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    """The product in its photo.

    Attributes:
        photo: The whole photo, H x W x 3.
        mask: The product in it, same H x W.
        box: The bounding box of the product, or of its solid part where it has one.
        solid: For a product that the caller cut out, whose mask is coverage: a pixel of value a shows a / 255 of the
            product and the rest of the scene. None for a product that was found.
    """

    photo: Pixels
    mask: ProductMask
    box: Box
    solid: Solid | None = None

    @property
    def size(self) -> Size:
        """The photo's size."""
        return Size(height=self.mask.shape[0], width=self.mask.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutOut:
    """A product with its coverage, resampled once to the canvas.

    Attributes:
        pixels: H x W x 3 of the canvas's size, the product's own colours, not premultiplied.
        coverage: H x W, how much of the product each pixel shows, 0 to 255.
        mixed_edge: As in `Solid`.
    """

    pixels: Pixels
    coverage: ProductMask
    mixed_edge: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedProduct:
    """The product, resampled once to its size on the canvas, and nothing else.

    Attributes:
        pixels: h x w x 3, the photo's own pixels at the placed size.
        mask: h x w, the product's mask at the placed size; of a cut-out, its solid part.
        box: Where this rectangle lies on the canvas; its size is h x w.
        canvas: The canvas's size.
        placement: The same in the wire's words.
        cut_out: The product with its coverage, where the caller cut it out; else None.
    """

    pixels: Pixels
    mask: ProductMask
    box: Box
    canvas: Size
    placement: Placement
    cut_out: CutOut | None = None
