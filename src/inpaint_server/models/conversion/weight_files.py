"""A file of weights, opened: every tensor by its name, mapped and not read; or one sentence on what the file is.

A file is judged by its first bytes, not by its name. Pickles are opened weights-only: nothing in them is run.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from inpaint_server.errors import BundleError

_HEAD_BYTES: Final = 1024
_LARGEST_HEADER: Final = 100_000_000  # bytes; what the safetensors format allows
_LFS_POINTER: Final = b"version https://git-lfs"
_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_OTHER_FORMATS: Final = {
    b"GGUF": "quantised weights in GGUF: get the same model as safetensors",
    b"\x89HDF": "Keras weights (HDF5): get the same model as safetensors",
    b"\x1f\x8b": "an archive (gzip): unpack it and give what is in it",
    b"7z\xbc\xaf": "an archive (7z): unpack it and give what is in it",
    b"Rar!": "an archive (RAR): unpack it and give what is in it",
}
_WRAPPERS: Final = ("state_dict", "model", "model_state_dict")
_PARALLEL: Final = "module."  # what torch's DataParallel puts before every name


class _Bookkeeping:
    """Stands in for the class of PyTorch Lightning that training leaves in a `.ckpt` beside the weights."""


_HARMLESS: Final[list[Any]] = [(_Bookkeeping, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")]


def open_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.safetensors` file or a PyTorch pickle by name, views of the mapped file.

    A state dict inside `{"state_dict": ...}` or `{"model": ...}` is taken out of it, and `module.` off its names.

    Raises:
        BundleError: the file is missing, cut, no weights, or a pickle of more than weights.
    """
    head = _head(path)
    if _is_safetensors(head):
        _check_safetensors(path)
        weights = load_file(path)
    elif head.startswith(_ZIP):
        weights = _zipped_pickle(path)
    elif head.startswith(_PICKLE):
        weights = _pickle(path, mapped=False)
    else:
        raise BundleError(f"{path} is no file of weights: give a .safetensors, .ckpt, .pth or .bin.")
    if not weights:
        raise BundleError(f"{path} holds no weights: give the model's own file.")
    return weights


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what git leaves in the place of a large file that was not fetched."""
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def read_json(path: Path) -> dict[str, Any]:
    """A configuration.

    Raises:
        BundleError: it is missing, or not a JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: copy it from where the model is from.") from None
    except (ValueError, OSError):
        content = None
    if not isinstance(content, dict):
        raise BundleError(f"{path} is no JSON object: copy it again from where the model is from.")
    return content


def _head(path: Path) -> bytes:
    """The file's first bytes, unless they show that it is no file of weights."""
    if path.is_symlink() and not path.exists():
        raise BundleError(f"{path} is a link to a file that is not there: download the model again.")
    if not path.is_file():
        raise BundleError(f"{path} is missing, or no file: copy it from where the model is from.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): check its permissions.") from None
    if not head:
        raise BundleError(f"{path} is empty: download it again.")
    if not _is_safetensors(head):
        _refuse_other_formats(path, head)
    return head


def _refuse_other_formats(path: Path, head: bytes) -> None:
    if head.startswith(_LFS_POINTER):
        raise BundleError(f"{path} is a Git LFS pointer and not the weights: run `git lfs pull` in its folder.")
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise BundleError(f"{path} holds {what}.")
    if text := _text(head):
        kind = "a web page" if re.search("<html|<!doctype html", text, re.IGNORECASE) else f'text ("{text[:40]}")'
        raise BundleError(f"{path} is {kind} saved as weights: download it again, logged in if the site asks for it.")


def _text(head: bytes) -> str:
    """The bytes as one line of text; empty if they are not text."""
    try:
        text = head[:_HEAD_BYTES].decode("utf-8", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return ""
    return " ".join(text.split()) if all(char.isprintable() or char.isspace() for char in text) else ""


def _is_safetensors(head: bytes) -> bool:
    """Whether a file begins as https://github.com/huggingface/safetensors says under Format: a length, then JSON."""
    return head[8:9] == b"{" and _header_length(head) <= _LARGEST_HEADER


def _header_length(head: bytes) -> int:
    return struct.unpack("<Q", head[:8])[0]


def _check_safetensors(path: Path) -> None:
    """Compare what the header promises with the file's size, then let the library check the rest of the header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = _header_length(file.read(8))
        header = file.read(length)
    promised = 8 + length
    if size >= promised:
        try:
            entries = json.loads(header)
            promised += max((entries[name]["data_offsets"][1] for name in entries if name != "__metadata__"), default=0)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise BundleError(f"{path} is damaged (its header cannot be read): download it again.") from None
    if size < promised:
        raise BundleError(f"{path} is cut ({size:,} of {promised:,} bytes): download it again.")
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as error:
        raise BundleError(f"{path} is damaged ({error}): download it again.") from None


def _zipped_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise BundleError(f"{path} is cut ({path.stat().st_size:,} bytes): download it again.") from None
    if not any(name.endswith("/data.pkl") for name in names):
        raise BundleError(f"{path} is a zip archive of other files: unpack it and give what is in it.")
    if any(name.endswith("/constants.pkl") for name in names):
        raise BundleError(f"{path} is a TorchScript program and not weights: get the same model as safetensors.")
    return _pickle(path, mapped=True)


def _pickle(path: Path, *, mapped: bool) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as file:
            source = path if mapped else file
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)  # noqa: TID251 - here alone
    except pickle.UnpicklingError as error:
        raise BundleError(_refusal(path, str(error))) from None
    except (RuntimeError, EOFError, LookupError, ValueError, AttributeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        if "magic number" in reason:
            raise BundleError(
                f"{path} is a pickle that PyTorch did not write: get the model as .safetensors."
            ) from None
        raise BundleError(f"{path} is cut or damaged ({reason}): download it again.") from None
    return _state_dict(content)


def _refusal(path: Path, error: str) -> str:
    found = re.search(r"GLOBAL (\S+)", error)
    if found is None:
        return f"{path} is cut or damaged (its pickle cannot be read): download it again."
    return (
        f"{path} is a pickle of more than weights (it asks for {found[1]}, which could run code) and was not opened: "
        "get the same model as .safetensors."
    )


def _state_dict(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, whatever it is wrapped in."""
    while isinstance(content, Mapping) and (inner := [content[key] for key in _WRAPPERS if _is_mapping(content, key)]):
        content = inner[0]
    if not isinstance(content, Mapping):
        return {}
    weights = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    parallel = bool(weights) and all(name.startswith(_PARALLEL) for name in weights)
    return {name.removeprefix(_PARALLEL) if parallel else name: value for name, value in weights.items()}


def _is_mapping(content: Mapping[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)
