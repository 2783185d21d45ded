"""The weights of one model in a folder, as diffusers and transformers save it: whole or sharded, of any variant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from torch import Tensor

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion.weight_files import is_lfs_pointer, open_weights, read_json

_STEM: Final = r"(?:diffusion_pytorch_model|pytorch_model|model)"
_WHOLE: Final = re.compile(rf"{_STEM}(?:\.(?P<variant>\w+))?\.(?P<format>safetensors|bin)")
_INDEX: Final = re.compile(rf"{_STEM}\.(?P<format>safetensors|bin)\.index(?:\.(?P<variant>\w+))?\.json")
_SHARD: Final = re.compile(rf"{_STEM}\S*-of-\d+\S*\.(?:safetensors|bin)")
_LAST_CHOICE: Final = "non_ema"


def weight_candidates(names: Iterable[str]) -> list[str]:
    """The names of whole files of weights and of shards' indices in a folder, the best first.

    Safetensors come before pickles, the usual weights before half precision, and both before those that training
    continues from (`non_ema`).
    """
    matches = [match for name in names if (match := _WHOLE.fullmatch(name) or _INDEX.fullmatch(name))]

    def rank(match: re.Match[str]) -> tuple[bool, bool, bool, bool]:
        variant = match["variant"]
        return variant == _LAST_CHOICE, match["format"] == "bin", variant not in {None, "fp16"}, variant is not None

    return [match.string for match in sorted(matches, key=rank)]


def is_index(name: str) -> bool:
    """Whether a file lists the shards that weights are in."""
    return _INDEX.fullmatch(name) is not None


def open_folder(folder: Path) -> tuple[dict[str, Tensor], tuple[Path, ...]]:
    """Every tensor of a model's folder, mapped and not read, and the files they are in.

    Raises:
        BundleError: there are none, a shard or its index is missing, or a file cannot be opened.
    """
    files = _weight_files(folder)
    weights: dict[str, Tensor] = {}
    for file in files:
        weights.update(open_weights(file))
    return weights, files


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The files of the best candidate that git has fetched, else of the best."""
    names = sorted(path.name for path in folder.iterdir())
    choices = [_parts(folder, name) for name in weight_candidates(names)]
    if not choices:
        if shards := [name for name in names if _SHARD.fullmatch(name)]:
            raise BundleError(
                f"{folder} holds shards ({shards[0]}, ...) without their index: copy its .index.json there, too."
            )
        raise BundleError(f"{folder} holds no weights (.safetensors or .bin): copy them there, too.")
    return next((files for files in choices if not any(map(_is_pointer, files))), choices[0])


def _parts(folder: Path, name: str) -> tuple[Path, ...]:
    if not is_index(name):
        return (folder / name,)
    listed = read_json(folder / name).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise BundleError(f"{folder / name} names no shards: copy it again from where the model is from.")
    return tuple(folder / shard for shard in sorted(set(listed.values())))


def _is_pointer(path: Path) -> bool:
    return path.is_file() and is_lfs_pointer(path)
