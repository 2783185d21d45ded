"""The demo bundle's advert on the device beside the CPU's: the same picture to the eye."""

from __future__ import annotations

import numpy as np
from PIL import Image

from benchmarks import jobs
from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record
from benchmarks.process import NO_CACHES, answers_to, engine_here
from inpaint_server.domain.arrays import Pixels

_MOST_GREY_LEVELS = 4
"""Of the mean difference; what half precision and other kernels leave, and nobody sees."""


def measure(target: Target, record: Record) -> None:
    """Their mean difference; both are saved side by side as `picture.png`."""
    fields = jobs.fields(**target.effort)
    on_device, on_cpu = (_advert(device, fields) for device in (target.device, "cpu"))
    Image.fromarray(np.concatenate([on_device, on_cpu], axis=1)).save(target.out / "picture.png")
    apart = np.abs(on_device.astype(int) - on_cpu)
    record.figure(
        "demo bundle's advert, off from the CPU's on average",
        float(apart.mean()),
        "grey levels",
        f"at most {apart.max()}, {np.percentile(apart, 99):.0f} in 99 of 100 values",
        at_most=_MOST_GREY_LEVELS,
    )


def _advert(device: str, fields: dict[str, object]) -> Pixels:
    loaded = engine_here("demo", device=device, **NO_CACHES)
    (answer,) = answers_to(loaded, fields)
    loaded.engine.drain()
    return answer.adverts[0].picture
