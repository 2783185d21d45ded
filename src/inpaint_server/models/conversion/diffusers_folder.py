"""A Stable Diffusion checkpoint in a folder, as diffusers saves it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from transformers import CLIPTokenizer

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion import checkpoints, families
from inpaint_server.models.conversion.checkpoints import DiffusionCheckpoint, TextEncoder
from inpaint_server.models.conversion.weight_files import read_json
from inpaint_server.models.conversion.weight_folders import open_folder
from inpaint_server.models.layout import TEXT_ENCODERS, TOKENIZERS

INDEX: Final = "model_index.json"
_LONGEST_CONTEXT: Final = 10_000
"""Tokens; a tokenizer without a length of its own has 1e30."""


def require_checkpoint(folder: Path) -> None:
    """Refuse a folder that is a level above or below a checkpoint's, or none.

    Raises:
        BundleError: the message says which folder to give.
    """
    if is_checkpoint(folder):
        return
    if is_checkpoint(folder.parent):
        raise BundleError(f"{folder} is a part of a checkpoint: give the folder above it, {folder.parent}.")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and is_checkpoint(path))
    repositories = sorted(path for path in folder.iterdir() if (path / "snapshots").is_dir())
    for below, what in ((inside, "checkpoint"), (repositories, "repository of the hub's cache")):
        if below:
            raise BundleError(f"{folder} is a level too high: give a {what} in it, such as {below[0]}.")
    if files := sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".ckpt"}):
        raise BundleError(f"{folder} is no diffusers folder: give the checkpoint's file in it, such as {files[0]}.")
    raise BundleError(f"{folder} is no diffusers folder (it has neither {INDEX} nor unet/): give one, or a file.")


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a diffusers checkpoint's."""
    return (folder / INDEX).is_file() or all((folder / part).is_dir() for part in ("unet", "vae"))


def read_folder(folder: Path) -> DiffusionCheckpoint:
    """Open a checkpoint's folder.

    Args:
        folder: With `unet`, `vae`, `text_encoder`, `tokenizer` and `scheduler`, and for SDXL `text_encoder_2` and
            `tokenizer_2`; what else it has is not used.

    Raises:
        BundleError: a part is missing, damaged, of another family, or does not fit its configuration.
    """
    require_checkpoint(folder)
    if (folder / INDEX).exists():
        name = str(read_json(folder / INDEX).get("_class_name"))
        families.require_served(families.family_of_pipeline(name), folder)
    _require_parts(folder, ["unet"])
    unet = read_json(folder / "unet" / "config.json")
    family = families.require_served(families.family_of_unet(unet), folder)
    count = len(TEXT_ENCODERS) if family == families.SDXL else 1
    _require_parts(folder, ["vae", *TEXT_ENCODERS[:count], *TOKENIZERS[:count], "scheduler"])
    vae = read_json(folder / "vae" / "config.json")
    files: list[Path] = []
    return DiffusionCheckpoint(
        family=family,
        unet=checkpoints.unet(unet, _opened(folder / "unet", files), folder / "unet"),
        vae=checkpoints.autoencoder(vae, _opened(folder / "vae", files), folder / "vae"),
        text_encoders=tuple(_text_encoder(folder, number, files) for number in range(count)),
        noise_schedule=read_json(folder / "scheduler" / "scheduler_config.json"),
        files=tuple(files),
        native_size=_native_size(unet, vae),
    )


def read_tokenizer(folder: Path, text_encoder: dict[str, Any]) -> CLIPTokenizer:
    """A CLIP tokenizer, in its old files (`vocab.json`, `merges.txt`) or its new one (`tokenizer.json`).

    Raises:
        BundleError: it cannot be read, or has words that the text encoder does not know.
    """
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - a damaged file raises what its parser raises, some of it bare
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{folder} is no CLIP tokenizer ({reason}): copy it again.") from None
    words = len(tokenizer)
    if not tokenizer.get_vocab() or words > text_encoder["vocab_size"]:
        known = text_encoder["vocab_size"]
        raise BundleError(
            f"{folder} has {words:,} words and the text encoder knows {known:,}: take both from the same checkpoint."
        )
    if tokenizer.model_max_length > _LONGEST_CONTEXT:
        tokenizer.model_max_length = text_encoder["max_position_embeddings"]
    return tokenizer


def _require_parts(folder: Path, parts: Iterable[str]) -> None:
    for part in parts:
        if not (folder / part).is_dir():
            raise BundleError(f"{folder} has no {part}/: copy it there from where the checkpoint is from.")


def _opened(folder: Path, files: list[Path]) -> dict[str, Tensor]:
    """The weights in a folder; the files that they are in are appended."""
    weights, own = open_folder(folder)
    files += own
    return weights


def _text_encoder(folder: Path, number: int, files: list[Path]) -> TextEncoder:
    """A checkpoint's first text encoder, or SDXL's second, of which the pooled embedding is used, too."""
    where = folder / TEXT_ENCODERS[number]
    config = read_json(where / "config.json")
    return TextEncoder(
        model=checkpoints.text_encoder(config, _opened(where, files), where, projected=number > 0),
        tokenizer=read_tokenizer(folder / TOKENIZERS[number], config),
    )


def _native_size(unet: dict[str, Any], vae: dict[str, Any]) -> int:
    blocks = vae.get("encoder_block_out_channels") or vae["block_out_channels"]
    return int(unet["sample_size"] * 2 ** (len(blocks) - 1))
