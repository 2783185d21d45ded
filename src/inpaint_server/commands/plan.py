"""The plan of a batch as a table for the command line."""

from __future__ import annotations

from collections.abc import Iterator

from inpaint_server.domain.geometry import Size
from inpaint_server.errors import InvalidRequest
from inpaint_server.models import bundle as bundles
from inpaint_server.models.architectures import of_bundle, of_stable_diffusion_15
from inpaint_server.models.plan import ACCELERATORS, make_plan
from inpaint_server.settings import read

PUBLISHED = "stable-diffusion-1.5"
_NATIVE_SIZE = 512


def report(name: str, device: str, *, size: int | None, batch: int, steps: int) -> Iterator[str]:
    """The plan of a batch of adverts, line by line.

    Args:
        name: `stable-diffusion-1.5` (with SAM ViT-B), `demo`, or a bundle's folder.
        device: An accelerator's name.
        size: Side of the canvas, pixels; None: the models' native size.
        batch: Adverts side by side.
        steps: Of each pass.

    Raises:
        BundleError: there is no such bundle.
        InvalidRequest: the accelerator is not known, or the size is not a multiple of 8.
    """
    if device not in ACCELERATORS:
        raise InvalidRequest(f"Choose a device of {', '.join(ACCELERATORS)}: '{device}' is not known.", field="device")
    if size is not None and size % 8:
        raise InvalidRequest("Choose a size that is a multiple of 8.", field="size")
    if name == PUBLISHED:
        models, native = of_stable_diffusion_15("vit_b"), _NATIVE_SIZE
    else:
        bundle = bundles.open_bundle(bundles.find(name, read().model_dir))
        models, native = of_bundle(bundle), bundle.manifest.native_size
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
    yield f"at least {plan.floor_s(target):.2f} s for the batch, by arithmetic and bandwidth alone; not measured"
