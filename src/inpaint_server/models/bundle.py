"""A bundle: one folder with every weight, its manifest, and how to tell whether it is whole.

Layout: `bundle.json` beside `sam/`, `stable-diffusion/` and `stable-diffusion-inpainting/`, the latter two as
diffusers saves them; each of these may hold a second UNet, trained for few steps. Beside them there may be a
`safety-checker/` (Stable Diffusion's, with its image processor's `preprocessor_config.json`) and an `upscaler/`
(Swin2SR, as transformers saves it). Only safetensors are loaded.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.errors import BundleError

MANIFEST: Final = "bundle.json"
TEXT_TO_IMAGE: Final = "stable-diffusion"
INPAINTING: Final = "stable-diffusion-inpainting"
SEGMENTER: Final = "sam"
FEW_STEP_UNET: Final = "unet-few-step"
SAFETY_CHECKER: Final = "safety-checker"
UPSCALER: Final = "upscaler"
DEMO: Final = Path(__file__).parent.parent / "demo" / "bundle"
IMAGE_MODELS: Final = Path("/opt/models")

_READ_AT_ONCE: Final = 1 << 24
_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
REQUIRED_FILES: Final = (
    f"{SEGMENTER}/config.json",
    f"{SEGMENTER}/model.safetensors",
    *(
        f"{folder}/{file}"
        for folder in (TEXT_TO_IMAGE, INPAINTING)
        for file in (
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "tokenizer/tokenizer_config.json",
            "unet/config.json",
            f"unet/{_WEIGHTS}",
            "vae/config.json",
            f"vae/{_WEIGHTS}",
        )
    ),
)


class FileEntry(BaseModel):
    """What one file must be."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """What `bundle.json` says."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=1, ge=1, le=1)
    name: str
    version: str
    licence: str
    native_size: int = Field(ge=64, le=2048, multiple_of=8, description="Side of the square canvas trained for.")
    guidance_scale: float = Field(default=7.5, ge=0, description="The guidance these models look best at.")
    segmenter: str = Field(description="Segment Anything's type: vit_b, vit_l, vit_h or custom.")
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _inside_the_folder(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if outside := [path for path in files if not stays_inside(path)]:
            raise ValueError(f"{outside[0]} is outside the bundle")
        return files


class Bundle:
    """An opened bundle: its folder and manifest; sizes are checked, weights not yet read."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def label(self) -> str:
        """Name and version, as every answer tells it."""
        return f"{self.manifest.name} {self.manifest.version}"

    @property
    def defaults(self) -> BundleDefaults:
        """What this bundle decides where a request is silent."""
        side = self.manifest.native_size
        return BundleDefaults(
            size=Size(height=side, width=side),
            guidance_scale=self.manifest.guidance_scale,
            few_step_weights=self.has_few_step_weights,
            safety_checker=self.has(SAFETY_CHECKER),
            upscaler=self.has(UPSCALER),
        )

    @property
    def has_few_step_weights(self) -> bool:
        """Whether both checkpoints have a UNet trained for few steps."""
        files = (f"{folder}/{FEW_STEP_UNET}/{_WEIGHTS}" for folder in (TEXT_TO_IMAGE, INPAINTING))
        return all(file in self.manifest.files for file in files)

    def has(self, model: str) -> bool:
        """Whether it carries one of the models that a bundle may leave out: `safety-checker`, `upscaler`."""
        return f"{model}/model.safetensors" in self.manifest.files

    def shares(self, component: str) -> bool:
        """Whether both checkpoints publish the same files for a component (`vae`, `text_encoder`), by checksum."""
        ours, theirs = (self._checksums(f"{folder}/{component}/") for folder in (TEXT_TO_IMAGE, INPAINTING))
        return ours == theirs

    def _checksums(self, prefix: str) -> dict[str, str]:
        files = self.manifest.files.items()
        return {
            path.removeprefix(prefix): entry.sha256
            for path, entry in files
            if path.startswith(prefix) and path.endswith(".safetensors")
        }


def find(name: str, model_dir: Path) -> Path:
    """The folder to load: `demo`, a path, or the first of the usual places that holds a bundle.

    The demo bundle is never found by searching: an endpoint must not serve demo pictures by accident.

    Raises:
        BundleError: nothing is there; the message says where it looked.
    """
    if name == "demo":
        return DEMO
    if name:
        return Path(name)
    for folder in (model_dir, IMAGE_MODELS):
        if (folder / MANIFEST).is_file():
            return folder
    raise BundleError(
        f"No bundle in {model_dir} or {IMAGE_MODELS}: put one there, set INPAINT_BUNDLE to its folder, "
        "or set INPAINT_BUNDLE=demo for the small models inside the package."
    )


def open_bundle(folder: Path) -> Bundle:
    """Read the manifest and check that every file is there with its size.

    Raises:
        BundleError: with the first problem in plain words.
    """
    manifest = _read_manifest(folder)
    for problem in (*_missing_from(manifest), *_wrong_sizes(folder, manifest)):
        raise BundleError(f"The bundle in {folder} cannot be used: {problem}.")
    return Bundle(folder, manifest)


def read_ahead(bundle: Bundle) -> None:
    """Have the weights read from the disk on a thread of its own, while the libraries are imported.

    Either takes seconds; afterwards loading finds the files in the page cache. What both checkpoints share is read
    once.
    """
    paths = {entry.sha256: path for path, entry in bundle.manifest.files.items() if path.endswith(".safetensors")}

    def read() -> None:
        buffer = bytearray(_READ_AT_ONCE)
        for path in paths.values():
            with (bundle.folder / path).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    threading.Thread(target=read, name="read-ahead", daemon=True).start()


def verify(folder: Path) -> list[str]:
    """Every problem of a bundle in plain words, checksums included; an empty list is a whole bundle."""
    try:
        manifest = _read_manifest(folder)
    except BundleError as error:
        return [error.message]
    problems = [*_missing_from(manifest), *_wrong_sizes(folder, manifest)]
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


def write_manifest(
    folder: Path, *, name: str, version: str, licence: str, native_size: int, guidance_scale: float = 7.5
) -> Manifest:
    """Checksum every file of a folder in the bundle's layout and write its `bundle.json`.

    Raises:
        BundleError: a file that every bundle has is missing, or the folder holds a symbolic link or a pickle.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.name != MANIFEST and not path.is_dir()]
    for path in paths:
        if path.is_symlink():
            raise BundleError(f"{path} is a symbolic link: copy the file itself, archives must hold no links.")
        if path.suffix in {".bin", ".ckpt", ".pt", ".pth", ".pkl"}:
            raise BundleError(f"{path} is a pickle: convert it with scripts/make_bundle.py first.")
    files = {
        path.relative_to(folder).as_posix(): FileEntry(sha256=sha256(path), bytes=path.stat().st_size) for path in paths
    }
    if absent := [required for required in REQUIRED_FILES if required not in files]:
        raise BundleError(f"{folder} has no {absent[0]}: a bundle needs it.")
    segmenter = json.loads((folder / SEGMENTER / "config.json").read_text())["type"]
    manifest = Manifest(
        name=name,
        version=version,
        licence=licence,
        native_size=native_size,
        guidance_scale=guidance_scale,
        segmenter=segmenter,
        files=files,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def stays_inside(path: str) -> bool:
    """Whether a relative path with `/` leads nowhere out of the folder it is taken in."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def sha256(path: Path) -> str:
    """A file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder} holds no {MANIFEST}: make a bundle with scripts/make_bundle.py.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path} is not a bundle's manifest ({where}: {first['msg']}): make it again.") from None


def _missing_from(manifest: Manifest) -> list[str]:
    return [f"the manifest does not list {path}" for path in REQUIRED_FILES if path not in manifest.files]


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
