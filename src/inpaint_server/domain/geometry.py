"""Sizes, boxes, points and placements, in pixels or in fractions of the canvas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A picture's size in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def shorter_side(self) -> int:
        """The smaller of height and width."""
        return min(self.height, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open rectangle in pixels: rows [top, bottom), columns [left, right)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """The rectangle's height and width."""
        return Size(height=self.bottom - self.top, width=self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that cut this rectangle out of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A Segment Anything prompt point, in pixels of the photo; label 1 = product, 0 = not product."""

    x: float
    y: float
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the product stands.

    Attributes:
        scale: Longer side of the product's bounding box over the canvas's shorter side.
        x: Bottom centre of the box, fraction of the canvas's width, [0, 1].
        y: Bottom of the box, fraction of the canvas's height, [0, 1].
    """

    scale: float
    x: float
    y: float
