"""Whether the models in a bundle's folder would load and work together, by names and shapes: no weight is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion import additions, few_step
from inpaint_server.models.conversion.diffusers_folder import read_folder
from inpaint_server.models.conversion.sam_weights import read_segmenter
from inpaint_server.models.layout import (
    FEW_STEP_UNET,
    INPAINTING,
    SAFETY_CHECKER,
    SEGMENTER,
    TEXT_TO_IMAGE,
    UPSCALER,
)


def problems(folder: Path) -> list[str]:
    """What would keep a bundle from being served although its files are those of its manifest, a sentence each.

    The checks are those that a bundle's sources pass before it is made.
    """
    checks: list[Callable[[], object]] = [lambda: read_segmenter(folder / SEGMENTER)]
    for name in (TEXT_TO_IMAGE, *((INPAINTING,) if (folder / INPAINTING).is_dir() else ())):
        checkpoint = folder / name
        checks.append(lambda at=checkpoint, use=name: read_folder(at).require_use(use, at))
        if (checkpoint / FEW_STEP_UNET).is_dir():
            checks.append(lambda at=checkpoint / FEW_STEP_UNET: few_step.read_unet(at))
    if (folder / SAFETY_CHECKER).is_dir():
        checks.append(lambda: additions.require_weights(folder / SAFETY_CHECKER))
    if (folder / UPSCALER).is_dir():
        checks.append(lambda: additions.require_upscaler(folder / UPSCALER))
    return [problem for check in checks if (problem := _problem(check))]


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except BundleError as error:
        return error.message
    return None
