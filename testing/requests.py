"""Resolved requests without a wire: a few fields and a photo, everything else as a caller who leaves it out gets it."""

from __future__ import annotations

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, BundleDefaults
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import validate


def resolved(
    photo: Pixels | None, mask: ProductMask | None = None, *, side: int = 64, **fields: object
) -> AdvertRequest:
    """A request for a bundle trained for `side` x `side` pixels."""
    defaults = BundleDefaults(size=Size(height=side, width=side))
    return resolve(validate(fields, has_image=photo is not None), photo, mask, defaults, draw_seed=lambda: 0)
