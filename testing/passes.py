"""Diffusion passes on the models themselves, from their first step to their pixels."""

from __future__ import annotations

from collections.abc import Sequence

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import DiffusionCall
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.denoising import DenoisingState


def run_passes(backend: TorchBackend, *calls: DiffusionCall) -> list[Pixels]:
    """Run passes together as the engine does: those with equal batch keys in one evaluation, until all are done."""
    states = backend.begin(calls)
    while left := [one for one in states if not one.done]:
        first = min(left, key=lambda one: one.step)
        backend.advance([one for one in left if one.batch_key == first.batch_key])
    return decoded(backend, states)


def decoded(backend: TorchBackend, states: Sequence[DenoisingState]) -> list[Pixels]:
    """The pictures of passes that are done."""
    return [picture.pixels() for picture in backend.finish(states)]
