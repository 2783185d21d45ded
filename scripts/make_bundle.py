"""Make a bundle from published checkpoints: local folders and files, or a model hub at pinned revisions.

    python scripts/make_bundle.py local OUT --text-to-image DIR --inpainting DIR --sam FILE.pth [--few-step-lora FILE]
    python scripts/make_bundle.py hub OUT

Diffusion models are written in half precision as safetensors. A SAM `.pth` is a pickle: it is opened weights-only and
only here, never by the server. Repositories on the hub are options with defaults; revisions must be given.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Swin2SRForImageSuperResolution

from inpaint_server.cli import run
from inpaint_server.errors import BundleError
from inpaint_server.models.layout import (
    FEW_STEP_UNET,
    INPAINTING,
    SAFETY_CHECKER,
    SEGMENTER,
    TEXT_TO_IMAGE,
    UPSCALER,
)
from inpaint_server.models.manifest import write_manifest
from inpaint_server.models.sam import PUBLISHED, SamConfig, build_sam

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)

NATIVE_SIZE: Final = 512
LICENCE: Final = "CreativeML Open RAIL-M (Stable Diffusion), Apache-2.0 (Segment Anything)"
TEXT_TO_IMAGE_REPO: Final = "stable-diffusion-v1-5/stable-diffusion-v1-5"
INPAINTING_REPO: Final = "stable-diffusion-v1-5/stable-diffusion-inpainting"
SAM_REPO: Final = "ybelkada/segment-anything"
SAM_FILES: Final = {
    "vit_b": "checkpoints/sam_vit_b_01ec64.pth",
    "vit_l": "checkpoints/sam_vit_l_0b3195.pth",
    "vit_h": "checkpoints/sam_vit_h_4b8939.pth",
}
_DIFFUSERS_FILES: Final = ("*.json", "*.txt", "*.safetensors")


@app.command()
def local(
    out: Path,
    *,
    text_to_image: Annotated[Path, typer.Option(help="A Stable Diffusion folder as diffusers saves it.")],
    inpainting: Annotated[Path, typer.Option(help="A Stable Diffusion Inpainting folder as diffusers saves it.")],
    sam: Annotated[Path, typer.Option(help="A Segment Anything checkpoint (.pth).")],
    sam_type: Annotated[str, typer.Option(help="vit_b, vit_l, vit_h, or a JSON file with other sizes.")] = "vit_b",
    few_step_lora: Annotated[
        Path | None,
        typer.Option(help="An LCM LoRA (.safetensors), fused into a second UNet of both checkpoints (needs peft)."),
    ] = None,
    few_step_unets: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two few-step UNets instead, as diffusers saves them: text to image, inpainting."),
    ] = None,
    safety_checker: Annotated[
        Path | None,
        typer.Option(help="A Stable Diffusion folder whose safety_checker and feature_extractor are added."),
    ] = None,
    upscaler: Annotated[Path | None, typer.Option(help="A Swin2SR folder as transformers saves it.")] = None,
    name: str = "stable-diffusion-1.5",
    version: str = "1",
    licence: str = LICENCE,
    native_size: int = NATIVE_SIZE,
    guidance_scale: float = 7.5,
) -> None:
    """Make a bundle from checkpoints on this machine."""
    if out.exists():
        raise BundleError(f"{out} exists: remove it or choose another folder.")
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    convert_diffusers(StableDiffusionPipeline, text_to_image, unfinished / TEXT_TO_IMAGE)
    convert_diffusers(StableDiffusionInpaintPipeline, inpainting, unfinished / INPAINTING)
    for number, folder in enumerate((unfinished / TEXT_TO_IMAGE, unfinished / INPAINTING)):
        if few_step_lora is not None:
            unet = load_unet(folder / "unet")
            fuse_lora(unet, load_file(few_step_lora))
            unet.save_pretrained(folder / FEW_STEP_UNET, safe_serialization=True)
        elif few_step_unets is not None:
            load_unet(few_step_unets[number]).save_pretrained(folder / FEW_STEP_UNET, safe_serialization=True)
    convert_sam(sam, sam_type, unfinished / SEGMENTER)
    if safety_checker is not None:
        convert_safety_checker(safety_checker, unfinished / SAFETY_CHECKER)
    if upscaler is not None:
        Swin2SRForImageSuperResolution.from_pretrained(
            upscaler, dtype=torch.float16, use_safetensors=True, local_files_only=True
        ).save_pretrained(unfinished / UPSCALER)
    manifest = write_manifest(
        unfinished,
        name=name,
        version=version,
        licence=licence,
        native_size=native_size,
        guidance_scale=guidance_scale,
    )
    unfinished.rename(out)
    total = sum(entry.bytes for entry in manifest.files.values())
    typer.echo(f"{out}: {len(manifest.files)} files, {total / 1e9:.2f} GB")


@app.command()
def hub(
    out: Path,
    *,
    revision: Annotated[str, typer.Option(help="Commit of the text-to-image repository.")],
    inpainting_revision: Annotated[str, typer.Option(help="Commit of the inpainting repository.")],
    sam_revision: Annotated[str, typer.Option(help="Commit of the Segment Anything repository.")],
    sam_sha256: Annotated[str, typer.Option(help="SHA-256 of the Segment Anything checkpoint.")],
    sam_type: str = "vit_b",
    safety: Annotated[bool, typer.Option("--safety-checker", help="Add the text-to-image checkpoint's own.")] = False,
    text_to_image_repo: str = TEXT_TO_IMAGE_REPO,
    inpainting_repo: str = INPAINTING_REPO,
    sam_repo: str = SAM_REPO,
) -> None:
    """Download checkpoints at pinned revisions, check them, and make a bundle (needs a network)."""
    from huggingface_hub import hf_hub_download, snapshot_download

    folders = [
        Path(snapshot_download(repo, revision=commit, allow_patterns=list(_DIFFUSERS_FILES)))
        for repo, commit in ((text_to_image_repo, revision), (inpainting_repo, inpainting_revision))
    ]
    checkpoint = Path(hf_hub_download(sam_repo, SAM_FILES[sam_type], revision=sam_revision))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if digest != sam_sha256:
        raise BundleError(f"{checkpoint} has SHA-256 {digest} and not {sam_sha256}: do not use it.")
    local(
        out,
        text_to_image=folders[0],
        inpainting=folders[1],
        sam=checkpoint,
        sam_type=sam_type,
        safety_checker=folders[0] if safety else None,
        version=f"{revision[:8]}-{inpainting_revision[:8]}",
    )


def convert_diffusers(
    kind: type[StableDiffusionPipeline | StableDiffusionInpaintPipeline], source: Path, target: Path
) -> None:
    """Load a diffusers folder (safetensors only) and save it in half precision, without its safety checker."""
    pipeline = kind.from_pretrained(
        source,
        dtype=torch.float16,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        use_safetensors=True,
        local_files_only=True,
    )
    pipeline.save_pretrained(target, safe_serialization=True)


def convert_safety_checker(source: Path, target: Path) -> None:
    """Save a diffusers folder's safety checker in half precision, with what prepares pictures for it."""
    StableDiffusionSafetyChecker.from_pretrained(
        source / "safety_checker", dtype=torch.float16, use_safetensors=True, local_files_only=True
    ).save_pretrained(target)
    shutil.copy(source / "feature_extractor" / "preprocessor_config.json", target)


def load_unet(folder: Path) -> UNet2DConditionModel:
    """A UNet in half precision (safetensors only).

    Raises:
        BundleError: it takes the guidance scale as an input, which the server does not give.
    """
    unet = UNet2DConditionModel.from_pretrained(
        folder, dtype=torch.float16, use_safetensors=True, local_files_only=True
    )
    if unet.config["time_cond_proj_dim"] is not None:
        raise BundleError(f"{folder} takes the guidance scale as an input: use a UNet that does not, or an LCM LoRA.")
    return unet


def fuse_lora(unet: UNet2DConditionModel, lora: dict[str, Tensor]) -> None:
    """Add a LoRA to a UNet's weights with diffusers' own loader, so that the server needs no LoRA code.

    Args:
        unet: Changed in place.
        lora: A LoRA of the UNet alone, in any layout that diffusers reads, as LCM LoRAs are published.

    Raises:
        BundleError: the LoRA was trained for another model, or has layers outside the UNet.
    """
    try:
        weights: dict[str, Tensor] = StableDiffusionPipeline.lora_state_dict(_without_alphas(lora))[0]
        if not weights or any(not key.startswith("unet.") for key in weights):
            raise BundleError("The LoRA has weights outside the UNet: use one of the UNet alone, as the LCM LoRAs are.")
        unet.load_lora_adapter(weights, prefix="unet")
    except (RuntimeError, ValueError, LookupError) as error:
        raise BundleError(f"The LoRA does not fit the UNet: it was trained for another model ({error}).") from error
    adapted = sum(hasattr(module, "lora_A") for module in unet.modules())
    if adapted != len(weights) // 2:
        raise BundleError(f"Only {adapted} of the LoRA's {len(weights) // 2} layers fit the UNet: use another LoRA.")
    unet.fuse_lora()
    unet.unload_lora()


def _without_alphas(lora: dict[str, Tensor]) -> dict[str, Tensor]:
    """The LoRA with each layer's alpha / rank (Hu et al., LoRA, 2021, section 4.1) multiplied into its weights.

    diffusers ignores an attention layer's alpha where the layers' alphas differ.
    """
    weights = {key: value for key, value in lora.items() if not key.endswith(".alpha")}
    for key in lora.keys() - weights.keys():
        name = key.removesuffix(".alpha")
        rank = len(weights[f"{name}.lora_down.weight"])
        weights[f"{name}.lora_up.weight"] = weights[f"{name}.lora_up.weight"] * (float(lora[key]) / rank)
    return weights


def convert_sam(source: Path, kind: str, target: Path) -> None:
    """Open a SAM checkpoint weights-only and save it as safetensors beside its `config.json`.

    Args:
        source: The checkpoint, a state dict as `segment_anything` publishes it.
        kind: `vit_b`, `vit_l`, `vit_h`, or a JSON file in the form of `sam/config.json`.
        target: The folder to create.

    Raises:
        BundleError: the checkpoint is of another type, or holds more than weights.
    """
    config = {"type": kind} if kind in PUBLISHED else json.loads(Path(kind).read_text())
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)  # noqa: TID251 - here alone
    except pickle.UnpicklingError:
        raise BundleError(f"{source} holds more than weights: do not trust it.") from None
    try:
        build_sam(SamConfig.from_mapping(config)).load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{source} is no {kind} checkpoint: give its type with --sam-type ({error}).") from error
    target.mkdir(parents=True)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    run(app)
