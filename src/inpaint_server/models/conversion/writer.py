"""Writes a bundle's folder: under another name until it is complete, each file hashed while it is written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from inpaint_server.errors import BundleError
from inpaint_server.models.manifest import FileEntry

_DTYPES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}
_BLOCK_BYTES: Final = 1 << 24


@contextlib.contextmanager
def new_folder(out: Path) -> Generator[Path]:
    """A folder to fill, which becomes `out` if nothing fails; otherwise, Ctrl-C included, nothing of it is left.

    Raises:
        BundleError: `out` exists, or cannot be made.
    """
    require_new(out)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        partial.rename(out)
    except OSError as error:
        raise BundleError(f"{out} could not be written ({error.strerror}): choose another place.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_new(out: Path) -> None:
    """Check that a folder can be made.

    Raises:
        BundleError: it exists, or the folder around it does not.
    """
    if out.exists() or out.is_symlink():
        raise BundleError(f"{out} exists: remove it or choose another folder.")
    if not out.absolute().parent.is_dir():
        raise BundleError(
            f"{out.absolute().parent} is no folder: make it first, or choose another place for {out.name}."
        )


class BundleWriter:
    """Writes files into a folder and keeps their checksums.

    Args:
        folder: The folder.
        advance: Called with the number of bytes, each time some of the weights have been written.

    Attributes:
        entries: Checksum and size of every file that was written, by its path in the folder.
    """

    def __init__(self, folder: Path, advance: Callable[[int], None]) -> None:
        self.folder = folder
        self.entries: dict[str, FileEntry] = {}
        self._advance = advance

    def write_json(self, path: str, content: Mapping[str, Any]) -> None:
        """A configuration."""
        self._write(path, iter([(json.dumps(content, indent=2, sort_keys=True) + "\n").encode()]))

    def write_weights(self, path: str, weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
        """A `.safetensors` file (https://github.com/huggingface/safetensors, Format), one tensor in memory at a time.

        Args:
            path: In the folder.
            weights: Tensors by name; they are written in the order of their names.
            dtype: What floating-point tensors are converted to; None leaves them as they are.
        """
        self._write(path, self._blocks(weights, dtype))

    def add(self, path: str) -> None:
        """Hash a file that a library has written."""
        with (self.folder / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.entries[path] = FileEntry(sha256=digest, bytes=(self.folder / path).stat().st_size)

    def _blocks(self, weights: Mapping[str, Tensor], dtype: torch.dtype | None) -> Iterator[bytes]:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in sorted(weights):
            kind = written_dtype(weights[name], dtype)
            begin, end = end, end + weights[name].numel() * kind.itemsize
            header[name] = {
                "dtype": _DTYPES[kind],
                "shape": list(weights[name].shape),
                "data_offsets": [begin, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        yield struct.pack("<Q", len(text)) + text
        for name in sorted(weights):
            weight = weights[name].to(written_dtype(weights[name], dtype)).contiguous()
            for block in weight.flatten().view(torch.uint8).split(_BLOCK_BYTES):
                part = block.numpy().tobytes()
                yield part
                self._advance(len(part))

    def _write(self, path: str, blocks: Iterator[bytes]) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with target.open("wb") as file:
            for block in blocks:
                file.write(block)
                digest.update(block)
                size += len(block)
        self.entries[path] = FileEntry(sha256=digest.hexdigest(), bytes=size)


def written_dtype(weight: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """What a tensor is written as: floating-point ones, 8-bit ones always, in the type that is asked for."""
    if weight.dtype in _DTYPES and (dtype is None or not weight.is_floating_point()):
        return weight.dtype
    return dtype or torch.float32
