"""The plan of a batch as a table for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inpaint_server.domain.geometry import Size
from inpaint_server.errors import InvalidRequest
from inpaint_server.models import bundle as bundles
from inpaint_server.models.architectures import Architectures, of_bundle, of_stable_diffusion_15, of_stable_diffusion_xl
from inpaint_server.models.loading import silence_libraries
from inpaint_server.models.plan import ACCELERATORS, make_plan, possible_savings
from inpaint_server.models.sam import PUBLISHED
from inpaint_server.settings import read

_PUBLISHED: dict[str, tuple[Callable[[str], Architectures], int]] = {
    "stable-diffusion-1.5": (of_stable_diffusion_15, 512),
    "stable-diffusion-xl": (of_stable_diffusion_xl, 1024),
}
"""Checkpoints as they were published, and their native size."""


def report(name: str, device: str, *, segmenter: str, size: int | None, batch: int, steps: int) -> Iterator[str]:
    """The plan of a batch of adverts, line by line.

    Args:
        name: `stable-diffusion-1.5`, `stable-diffusion-xl`, `demo`, or a bundle's folder.
        device: An accelerator's name.
        segmenter: Of the published models: `vit_b`, `vit_l` or `vit_h`.
        size: Side of the canvas, pixels; None: the models' native size.
        batch: Adverts side by side.
        steps: Of each pass.

    Raises:
        BundleError: there is no such bundle.
        InvalidRequest: the accelerator or segmenter is not known, or the size is not a multiple of 8.
    """
    if device not in ACCELERATORS:
        raise InvalidRequest(f"Choose a device of {', '.join(ACCELERATORS)}: '{device}' is not known.", field="device")
    if size is not None and size % 8:
        raise InvalidRequest("Choose a size that is a multiple of 8.", field="size")
    if segmenter not in PUBLISHED:
        raise InvalidRequest(f"Choose a segmenter of {', '.join(PUBLISHED)}: '{segmenter}' is not known.", field="sam")
    if name in _PUBLISHED:
        build, native = _PUBLISHED[name]
        models = build(segmenter)
        name = f"{name} with SAM {segmenter}"
    else:
        bundle = bundles.open_bundle(bundles.find(name, read().model_dir))
        models, native = of_bundle(bundle), bundle.manifest.native_size
    silence_libraries()
    side = size or native
    target = ACCELERATORS[device]
    plan = make_plan(models, size=Size(height=side, width=side), batch=batch, steps=steps)
    yield f"{name}, {batch} advert(s) of {side} x {side}, {steps} steps a pass with guidance, float16, on {device}"
    yield f"{'stage':20}{'calls':>7}{'TFLOP each':>13}{'weights MB':>12}{'activations MB':>16}{'floor s':>10}"
    for stage in plan.stages:
        cost = stage.cost
        yield (
            f"{stage.name:20}{stage.calls:7}{cost.operations / 1e12:13.4f}{cost.weight_bytes / 1e6:12.1f}"
            f"{cost.activation_bytes / 1e6:16.1f}{stage.floor_s(target):10.3f}"
        )
    yield (
        f"weights {plan.weight_bytes / 1e9:.2f} GB, CUDA graphs {plan.graph_bytes / 1e9:.2f} GB, "
        f"peak {plan.peak_bytes / 1e9:.2f} GB: "
        f"{'fits' if plan.fits(target) else 'does not fit'} in {target.memory_bytes / 1e9:.0f} GB"
    )
    if not plan.fits(target):
        for remedy, saved in possible_savings(models):
            yield f"to save {saved / 1e9:.2f} GB, {remedy}"
        yield f"to save {plan.graph_bytes / 1e9:.2f} GB, set INPAINT_CUDA_GRAPHS=off"
    yield f"at least {plan.floor_s(target):.2f} s for the batch, by arithmetic and bandwidth alone; not measured"
