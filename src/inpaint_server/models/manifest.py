"""A bundle's manifest, `bundle.json`: written with every file's checksum, read, and verified against the files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NotRequired, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from inpaint_server.errors import BundleError
from inpaint_server.models.layout import MANIFEST, SEGMENTER, required_files, stays_inside


class FileEntry(BaseModel):
    """Checksum and size of one file."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class SourceEntry(BaseModel):
    """A checkpoint that a bundle was made from."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Its repository on the hub, or the name of its file or folder.")
    revision: str | None = Field(default=None, description="The commit of a repository.")
    sha256: dict[str, str] = Field(description="The checksum of each of its files of weights, by its path in it.")


class Manifest(BaseModel):
    """The content of `bundle.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=1, ge=1, le=1)
    name: str
    version: str
    licence: str
    native_size: int = Field(ge=64, le=2048, multiple_of=8, description="Side of the square canvas trained for.")
    guidance_scale: float = Field(default=7.5, ge=0, description="The guidance that suits these models best.")
    segmenter: str = Field(description="Segment Anything's type: vit_b, vit_l, vit_h or custom.")
    sources: dict[str, SourceEntry] = Field(default={}, description="What it was made from, where that was recorded.")
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _inside_the_folder(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if outside := [path for path in files if not stays_inside(path)]:
            raise ValueError(f"{outside[0]} is outside the bundle")
        return files


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        BundleError: there is none, or it is not valid.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder} holds no {MANIFEST}: make a bundle with `inpaint-server bundle make`.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path} is not a bundle's manifest ({where}: {first['msg']}): make it again.") from None


def quick_problems(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with a bundle as far as names and sizes show, a sentence each; checksums are not compared."""
    missing = [
        f"the manifest does not list {path}" for path in required_files(manifest.files) if path not in manifest.files
    ]
    return [*missing, *_wrong_sizes(folder, manifest)]


def verify(folder: Path) -> list[str]:
    """Every problem of a bundle, a sentence each, checksums included; none for a bundle that is complete."""
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        return [error.message]
    problems = quick_problems(folder, manifest)
    intact = (path for path, entry in manifest.files.items() if _size_of(folder / path) == entry.bytes)
    problems += [
        f"{path} is damaged (its SHA-256 is not the manifest's): copy it again"
        for path in intact
        if sha256(folder / path) != manifest.files[path].sha256
    ]
    listed = {*manifest.files, MANIFEST}
    present = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    problems += [
        f"{path} is not in the manifest: remove it or make the manifest again" for path in present if path not in listed
    ]
    return problems


class About(TypedDict):
    """What a manifest says besides its files, as the fields of `Manifest`."""

    name: str
    version: str
    licence: str
    native_size: int
    guidance_scale: NotRequired[float]
    sources: NotRequired[dict[str, SourceEntry]]


def write_manifest(
    folder: Path, known: Mapping[str, FileEntry] = MappingProxyType({}), **about: Unpack[About]
) -> Manifest:
    """Compute the checksum of every file in a bundle's folder and write its `bundle.json`.

    Args:
        folder: The bundle's.
        known: Files whose checksum was computed when they were written.
        about: The rest of the manifest.

    Raises:
        BundleError: a file that every bundle has is missing, or the folder holds a symbolic link or a pickle.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.name != MANIFEST and not path.is_dir()]
    for path in paths:
        if path.is_symlink():
            raise BundleError(f"{path} is a symbolic link: copy the file itself, archives must hold no links.")
        if path.suffix in {".bin", ".ckpt", ".pt", ".pth", ".pkl"}:
            raise BundleError(f"{path} is a pickle: convert it with `inpaint-server bundle make` first.")
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    files = {
        name: known.get(name) or FileEntry(sha256=sha256(path), bytes=path.stat().st_size)
        for name, path in names.items()
    }
    if missing := [required for required in required_files(files) if required not in files]:
        raise BundleError(f"{folder} has no {missing[0]}: a bundle needs it.")
    segmenter = json.loads((folder / SEGMENTER / "config.json").read_text())["type"]
    manifest = Manifest(segmenter=segmenter, files=files, **about)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def sha256(path: Path) -> str:
    """A file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong_sizes(folder: Path, manifest: Manifest) -> list[str]:
    problems: list[str] = []
    for path, entry in manifest.files.items():
        size = _size_of(folder / path)
        if size is None:
            problems.append(f"{path} is missing ({entry.bytes:,} bytes)")
        elif size != entry.bytes:
            problems.append(f"{path} has {size:,} bytes instead of {entry.bytes:,}: copy it again")
    return problems


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
