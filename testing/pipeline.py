"""A driver for the pipeline's generator: every model call gets the result that its type is given, without models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import FindProduct, Generate, Inpaint, MaskProposals, ModelCall, ModelResult, Segment
from inpaint_server.domain.product import Product
from inpaint_server.pipeline import PipelineSteps

T = TypeVar("T")
Results = Mapping[type, Callable[[Any], ModelResult]]
"""For each type of call, what makes its result."""


def drive(steps: PipelineSteps[T], results: Results) -> tuple[list[ModelCall], T]:
    """Run a pipeline to its end.

    Args:
        steps: What `compose` returns.
        results: `Segment` finds nothing and passes paint noise unless they are given.

    Returns:
        Every call in order, and what the pipeline returns.
    """
    rng = np.random.default_rng(1)

    def noise(call: Generate | Inpaint) -> Pixels:
        height, width = (call.size.height, call.size.width) if isinstance(call, Generate) else call.mask.shape
        return Pixels(frozen_array(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)))

    makers: dict[type, Any] = {Segment: nothing_found, Generate: noise, Inpaint: noise, **results}
    calls: list[ModelCall] = []
    try:
        call = next(steps)
        while True:
            calls.append(call)
            call = steps.send(makers[type(call)](call))
    except StopIteration as end:
        return calls, end.value


def nothing_found(call: Segment) -> MaskProposals:
    """Three empty masks."""
    return MaskProposals(masks=np.zeros((3, *call.photo.shape[:2]), np.uint8), scores=(0.9, 0.5, 0.1))


def with_product(steps: PipelineSteps[T], product: Product) -> PipelineSteps[T]:
    """The same pipeline, its product known beforehand."""
    result: ModelResult | None = None
    try:
        while True:
            call = next(steps) if result is None else steps.send(result)
            result = product if isinstance(call, FindProduct) else (yield call)
    except StopIteration as end:
        return end.value
