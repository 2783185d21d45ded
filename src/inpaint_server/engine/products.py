"""Finding the product in a photo: once for all pictures of a request, and for later requests from a cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from inpaint_server.cache import Cache, content_key
from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.calls import MaskProposals, ModelResult, Segment, SingleCall
from inpaint_server.domain.geometry import Box, Point
from inpaint_server.domain.product import Product
from inpaint_server.engine.job import Job
from inpaint_server.imaging.mask import cut_out_product, drop_strays, find_product
from inpaint_server.imaging.matting import refine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _FoundMask:
    """The mask proposals for a photo, and the product's mask refined from the best of them."""

    proposals: MaskProposals
    mask: ProductMask
    box: Box

    @property
    def nbytes(self) -> int:
        return self.proposals.masks.nbytes + self.mask.nbytes


class ProductFinder:
    """Finds products on the threads of their requests.

    Args:
        call_model: Runs a job's model call on the device, its time counted for the stage named.
        cache_bytes: Bytes of found masks kept.
    """

    def __init__(self, call_model: Callable[[Job, SingleCall, str], ModelResult], cache_bytes: int) -> None:
        self.masks: Cache[tuple[bytes, tuple[Point, ...], Box | None], _FoundMask] = Cache(
            cache_bytes, lambda kept: kept.nbytes
        )
        self._call_model = call_model

    def find(self, job: Job, photo: Pixels) -> Product:
        """The product by the request's own mask, by the mask cached for this photo, or by Segment Anything.

        Raises:
            InpaintServerError: the job was ended early, or there is no product.
        """
        request = job.request
        if request.mask is not None:
            return cut_out_product(photo, request.mask, is_alpha=request.mask_is_alpha)
        began = time.perf_counter()
        key = (content_key(photo), request.points, request.box)
        found = self.masks.get(key)
        if found is None:
            proposals = self._segment(job, photo)
            began = time.perf_counter()
            kept = drop_strays(proposals.best)
            job.raise_if_ended()
            refined = refine(photo, kept)
            job.raise_if_ended()
            product = find_product(photo, refined)
            found = _FoundMask(proposals=proposals, mask=product.mask, box=product.box)
            self.masks.put(key, found)
        job.proposals = found.proposals
        job.add_time("segment", (time.perf_counter() - began) * 1000)
        return Product(photo=photo, mask=found.mask, box=found.box)

    def _segment(self, job: Job, photo: Pixels) -> MaskProposals:
        request = job.request
        height, width = photo.shape[:2]
        centre = () if request.box else (Point(x=(width - 1) / 2, y=(height - 1) / 2, label=1),)
        call = Segment(photo=photo, points=request.points or centre, box=request.box)
        proposals = self._call_model(job, call, "segment")
        assert isinstance(proposals, MaskProposals), "`Segment` results in mask proposals"
        return proposals
