"""A bundle from the checkpoints that people have: everything is checked first, then written, then renamed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from inpaint_server.errors import BundleError
from inpaint_server.models import compatibility
from inpaint_server.models.conversion import additions, diffusers_folder, families, few_step, hub, single_file, sources
from inpaint_server.models.conversion.checkpoints import DiffusionCheckpoint, Model
from inpaint_server.models.conversion.sam_weights import Segmenter, read_segmenter
from inpaint_server.models.conversion.sources import Source
from inpaint_server.models.conversion.weight_files import open_weights
from inpaint_server.models.conversion.writer import BundleWriter, new_folder, require_new, written_dtype
from inpaint_server.models.layout import (
    DIFFUSION_WEIGHTS,
    FEW_STEP_UNET,
    INPAINTING,
    SAFETY_CHECKER,
    SEGMENTER,
    TEXT_ENCODERS,
    TEXT_TO_IMAGE,
    TOKENIZERS,
    UPSCALER,
)
from inpaint_server.models.manifest import Manifest, SourceEntry, write_manifest

_CHECKPOINT_FOLDERS: Final = ("", "unet", "vae", *TEXT_ENCODERS, *TOKENIZERS, "scheduler")
_SEGMENTER_LICENCE: Final = "Apache-2.0 (Segment Anything)"
_BLOCK_BYTES: Final = 1 << 24
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a bundle is made of, and what its manifest says.

    Attributes:
        text_to_image: Stable Diffusion 1.x, 2.x or XL: a path, or a name on the hub.
        inpainting: A checkpoint for inpainting, of any of these families; None lets the other do both.
        sam: Segment Anything.
        sam_sha256: What the checksum of Segment Anything's file has to be.
        few_step_lora: An LCM LoRA that is fused into a second UNet of each checkpoint.
        few_step_unets: Two few-step UNets instead, for text to image and for inpainting.
        safety_checker: A Stable Diffusion folder whose safety checker is added.
        upscaler: A Swin2SR folder.
        name: The bundle's; None for that of the text-to-image checkpoint's family.
        version: The bundle's; None for the first digits of the revisions or checksums it was made from.
        licence: Of the weights; None for those that the families and Segment Anything were published under.
        native_size: Side of the square canvas; None for the checkpoints' own.
        guidance_scale: The guidance that suits the models best.
    """

    text_to_image: str
    inpainting: str | None = None
    sam: str
    sam_sha256: str | None = None
    few_step_lora: Path | None = None
    few_step_unets: tuple[Path, Path] | None = None
    safety_checker: Path | None = None
    upscaler: Path | None = None
    name: str | None = None
    version: str | None = None
    licence: str | None = None
    native_size: int | None = None
    guidance_scale: float = 7.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Opened and checked sources, from which a bundle can be written.

    Attributes:
        recipe: What was asked for.
        found: Where each source was found, by its folder in the bundle.
        checkpoints: The one or two diffusion checkpoints, by their folder in the bundle.
        segmenter: Segment Anything.
        few_step: Few-step UNets that are copied, by their checkpoint's folder in the bundle.
        lora: The few-step LoRA, if one was given.
        work_bytes: Bytes that are read for checksums and bytes of weights that are written.
    """

    recipe: Recipe
    found: dict[str, Source]
    checkpoints: dict[str, DiffusionCheckpoint]
    segmenter: Segmenter
    few_step: dict[str, Model]
    lora: dict[str, Tensor] | None
    work_bytes: int


def prepare(recipe: Recipe, out: Path) -> Plan:
    """Find, open and check every source; nothing is written but what the hub's cache gets.

    Raises:
        BundleError: one of them does not fit, or the bundle cannot be written there.
    """
    require_new(out)
    if recipe.few_step_unets is not None and recipe.inpainting is None:
        raise BundleError("--few-step-unets takes two, one for --inpainting: give that, too, or use --few-step-lora.")
    found = {TEXT_TO_IMAGE: sources.find(recipe.text_to_image, _select_checkpoint)}
    if recipe.inpainting is not None:
        found[INPAINTING] = sources.find(recipe.inpainting, _select_checkpoint)
    checkpoints = {name: _read_checkpoint(source.path) for name, source in found.items()}
    found[SEGMENTER] = sources.find(recipe.sam, _select_segmenter)
    _require_uses(checkpoints, found)
    segmenter = read_segmenter(found[SEGMENTER].path)
    folders = dict(zip(checkpoints, recipe.few_step_unets or (), strict=False))
    ready_made = {name: few_step.read_unet(folder) for name, folder in folders.items()}
    if recipe.safety_checker is not None:
        additions.require_safety_checker(recipe.safety_checker)
    if recipe.upscaler is not None:
        additions.require_upscaler(recipe.upscaler)
    written = _written_bytes(checkpoints.values(), segmenter, ready_made.values())
    if (free := shutil.disk_usage(out.absolute().parent).free) < written:
        raise BundleError(f"{out} needs {written / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room first.")
    files = {file for part in (*checkpoints.values(), segmenter) for file in part.files}
    return Plan(
        recipe=recipe,
        found=found,
        checkpoints=checkpoints,
        segmenter=segmenter,
        few_step=ready_made,
        lora=None if recipe.few_step_lora is None else open_weights(recipe.few_step_lora),
        work_bytes=written + sum(file.stat().st_size for file in files),
    )


def checksums(plan: Plan, advance: Advance) -> dict[str, SourceEntry]:
    """The name, revision and checksums of every source.

    Raises:
        BundleError: Segment Anything's is not the one that was asked for.
    """
    parts = {**plan.checkpoints, SEGMENTER: plan.segmenter}
    known: dict[Path, str] = {}
    entries: dict[str, SourceEntry] = {}
    for name, part in parts.items():
        root = plan.found[name].path
        for file in part.files:
            known[file] = known.get(file) or _sha256(file, advance)
        entries[name] = SourceEntry(
            name=plan.found[name].name,
            revision=plan.found[name].revision,
            sha256={
                file.relative_to(root).as_posix() if file != root else file.name: known[file] for file in part.files
            },
        )
    wanted, given = plan.recipe.sam_sha256, list(entries[SEGMENTER].sha256.values())
    if wanted is not None and given != [wanted.lower()]:
        raise BundleError(f"{plan.found[SEGMENTER].path} has SHA-256 {given[0]} and not {wanted}: do not use it.")
    return entries


def write(plan: Plan, entries: dict[str, SourceEntry], out: Path, advance: Advance) -> Manifest:
    """Write the bundle; if that fails, nothing of it is left.

    Raises:
        BundleError: it cannot be written, or what is added does not fit.
    """
    recipe = plan.recipe
    with new_folder(out) as folder:
        writer = BundleWriter(folder, advance)
        for name, checkpoint in plan.checkpoints.items():
            _write_checkpoint(writer, name, checkpoint)
        for name, unet in plan.few_step.items():
            _write_model(writer, f"{name}/{FEW_STEP_UNET}", unet, DIFFUSION_WEIGHTS)
        if plan.lora is not None:
            for name in plan.checkpoints:
                few_step.fuse_into_copy(folder / name / "unet", plan.lora, folder / name / FEW_STEP_UNET)
        writer.write_json(f"{SEGMENTER}/config.json", plan.segmenter.config.to_mapping())
        writer.write_weights(f"{SEGMENTER}/model.safetensors", plan.segmenter.weights)
        if recipe.safety_checker is not None:
            additions.copy_safety_checker(recipe.safety_checker, folder / SAFETY_CHECKER)
        if recipe.upscaler is not None:
            additions.copy_upscaler(recipe.upscaler, folder / UPSCALER)
        return write_manifest(
            folder,
            known=writer.entries,
            name=recipe.name or families.BUNDLE_NAMES[plan.checkpoints[TEXT_TO_IMAGE].family],
            version=recipe.version or _version(entries),
            licence=recipe.licence or _licence(plan.checkpoints.values()),
            native_size=recipe.native_size or plan.checkpoints[TEXT_TO_IMAGE].native_size,
            guidance_scale=recipe.guidance_scale,
            sources=entries,
        )


def report(manifest: Manifest) -> list[str]:
    """A line on each source of a bundle, and on the checksum of each of its files."""
    lines: list[str] = []
    for folder, entry in manifest.sources.items():
        lines.append(f"{folder}: {entry.name}" + (f" at {entry.revision}" if entry.revision else ""))
        lines += [f"  {digest}  {file}" for file, digest in entry.sha256.items()]
    return lines


def _select_checkpoint(files: list[str]) -> list[str]:
    """A diffusers folder's files, or the only file of weights of a repository without folders."""
    if any(file.startswith("unet/") for file in files):
        return hub.select_weights(files, _CHECKPOINT_FOLDERS)
    single = [file for file in files if file.endswith((".safetensors", ".ckpt"))]
    return single if len(single) == 1 else []


def _select_segmenter(files: list[str]) -> list[str]:
    """A transformers folder's files, or the only file of weights in a repository."""
    if "config.json" in files:
        return hub.select_weights(files, [""])
    single = [file for file in files if file.endswith((".safetensors", ".pth", ".pt"))]
    return single if len(single) == 1 else []


def _read_checkpoint(path: Path) -> DiffusionCheckpoint:
    return diffusers_folder.read_folder(path) if path.is_dir() else single_file.read_file(path)


def _require_uses(checkpoints: dict[str, DiffusionCheckpoint], found: dict[str, Source]) -> None:
    swapped = {TEXT_TO_IMAGE: compatibility.INPAINTING_CHANNELS, INPAINTING: compatibility.TEXT_TO_IMAGE_CHANNELS}
    if swapped == {name: checkpoint.unet.config["in_channels"] for name, checkpoint in checkpoints.items()}:
        raise BundleError(
            f"The two checkpoints are swapped: {found[TEXT_TO_IMAGE].path} is for inpainting and "
            f"{found[INPAINTING].path} for text to image."
        )
    for name, checkpoint in checkpoints.items():
        checkpoint.require_use(name, found[name].path)


def _write_checkpoint(writer: BundleWriter, folder: str, checkpoint: DiffusionCheckpoint) -> None:
    _write_model(writer, f"{folder}/unet", checkpoint.unet, DIFFUSION_WEIGHTS)
    _write_model(writer, f"{folder}/vae", checkpoint.vae, DIFFUSION_WEIGHTS)
    for encoder, name, tokenizer in zip(checkpoint.text_encoders, TEXT_ENCODERS, TOKENIZERS, strict=False):
        _write_model(writer, f"{folder}/{name}", encoder.model, "model.safetensors")
        encoder.save_tokenizer(writer.folder / folder / tokenizer)
    writer.write_json(f"{folder}/scheduler/scheduler_config.json", checkpoint.noise_schedule)
    writer.write_json(f"{folder}/model_index.json", checkpoint.pipeline_index)


def _write_model(writer: BundleWriter, folder: str, model: Model, file: str) -> None:
    here = {"_name_or_path"}  # where the library found it, which says nothing elsewhere
    writer.write_json(f"{folder}/config.json", {key: model.config[key] for key in model.config.keys() - here})
    writer.write_weights(f"{folder}/{file}", model.weights, torch.float16)


def _written_bytes(
    checkpoints: Iterable[DiffusionCheckpoint], segmenter: Segmenter, few_step_unets: Iterable[Model]
) -> int:
    models = [
        model for one in checkpoints for model in (one.unet, one.vae, *(encoder.model for encoder in one.text_encoders))
    ]
    halves = [weight for model in (*models, *few_step_unets) for weight in model.weights.values()]
    total = sum(weight.numel() * written_dtype(weight, torch.float16).itemsize for weight in halves)
    return total + sum(weight.nbytes for weight in segmenter.weights.values())


def _sha256(path: Path, advance: Advance) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _licence(checkpoints: Iterable[DiffusionCheckpoint]) -> str:
    licences = dict.fromkeys(families.LICENCES[checkpoint.family] for checkpoint in checkpoints)
    return ", ".join([*licences, _SEGMENTER_LICENCE])


def _version(entries: dict[str, SourceEntry]) -> str:
    """Eight digits of each source's revision, or of the checksum of its first file."""
    return "-".join((entry.revision or next(iter(entry.sha256.values())))[:8] for entry in entries.values())
