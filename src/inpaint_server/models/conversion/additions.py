"""The models that a bundle may have besides: Stable Diffusion's safety checker and Swin2SR."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import Swin2SRForImageSuperResolution

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion.weight_files import open_weights, read_json

_PROCESSOR: Final = Path("feature_extractor", "preprocessor_config.json")
_WEIGHTS: Final = "model.safetensors"


def require_safety_checker(source: Path) -> None:
    """Check that a diffusers folder has a safety checker and what prepares pictures for it.

    Raises:
        BundleError: it lacks one of them.
    """
    if not (source / "safety_checker").is_dir() or not (source / _PROCESSOR).is_file():
        raise BundleError(
            f"{source} has no safety_checker/ with a feature_extractor/: give a folder that has both, or leave it out."
        )
    require_weights(source / "safety_checker")


def require_upscaler(source: Path) -> None:
    """Check that a folder is one of Swin2SR.

    Raises:
        BundleError: it is not.
    """
    if read_json(source / "config.json").get("model_type") != "swin2sr":
        raise BundleError(f"{source} holds no Swin2SR: give a folder of one as transformers saves it, or leave it out.")
    require_weights(source)


def copy_safety_checker(source: Path, target: Path) -> None:
    """Save a diffusers folder's safety checker in half precision, with what prepares pictures for it.

    Raises:
        BundleError: it does not load.
    """
    _copy(StableDiffusionSafetyChecker, source / "safety_checker", target)
    shutil.copy(source / _PROCESSOR, target)


def copy_upscaler(source: Path, target: Path) -> None:
    """Save a transformers folder of Swin2SR in half precision.

    Raises:
        BundleError: it does not load.
    """
    _copy(Swin2SRForImageSuperResolution, source, target)


def require_weights(folder: Path) -> None:
    """Check that a folder has a configuration, and safetensors that are whole.

    Raises:
        BundleError: it has not.
    """
    read_json(folder / "config.json")
    open_weights(folder / _WEIGHTS)


def _copy(
    kind: type[StableDiffusionSafetyChecker | Swin2SRForImageSuperResolution], source: Path, target: Path
) -> None:
    try:
        model = kind.from_pretrained(source, dtype=torch.float16, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{source} does not load as {kind.__name__} ({reason}): copy it again.") from None
    model.save_pretrained(target)
