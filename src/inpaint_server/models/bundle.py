"""Bundles: folders with every weight that the server loads, where they are found, and how they are opened."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.errors import BundleError
from inpaint_server.models.layout import (
    DIFFUSION_WEIGHTS,
    FEW_STEP_UNET,
    INPAINTING,
    MANIFEST,
    SAFETY_CHECKER,
    TEXT_TO_IMAGE,
    UPSCALER,
)
from inpaint_server.models.manifest import Manifest, quick_problems, read_manifest

DEMO: Final = Path(__file__).parent.parent / "demo" / "bundle"
IMAGE_MODELS: Final = Path("/opt/models")

_READ_AHEAD_BYTES: Final = 1 << 24


class Bundle:
    """An opened bundle: its folder and manifest. File sizes were checked; no weights were read."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def label(self) -> str:
        """Name and version, as every answer reports them."""
        return f"{self.manifest.name} {self.manifest.version}"

    @property
    def defaults(self) -> BundleDefaults:
        """The bundle's defaults for fields that a request leaves out."""
        side = self.manifest.native_size
        return BundleDefaults(
            size=Size(height=side, width=side),
            guidance_scale=self.manifest.guidance_scale,
            few_step_weights=self.has_few_step_weights,
            safety_checker=self.has(SAFETY_CHECKER),
            upscaler=self.has(UPSCALER),
        )

    @property
    def has_inpainting(self) -> bool:
        """Whether it has a checkpoint of its own for inpainting; else the text-to-image checkpoint does both."""
        return f"{INPAINTING}/unet/config.json" in self.manifest.files

    @property
    def has_few_step_weights(self) -> bool:
        """Whether every checkpoint has a UNet trained for few steps."""
        folders = (TEXT_TO_IMAGE, *((INPAINTING,) if self.has_inpainting else ()))
        return all(f"{folder}/{FEW_STEP_UNET}/{DIFFUSION_WEIGHTS}" in self.manifest.files for folder in folders)

    def has(self, model: str) -> bool:
        """Whether it has one of the optional models: `safety-checker`, `upscaler`."""
        return f"{model}/model.safetensors" in self.manifest.files

    def shares(self, component: str) -> bool:
        """Whether both checkpoints have the same weights for a component (`vae`, `text_encoder`), by checksum."""
        generating, inpainting = (self._checksums(f"{folder}/{component}/") for folder in (TEXT_TO_IMAGE, INPAINTING))
        return generating == inpainting

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
        BundleError: there is none; the message names the folders that were searched.
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
        BundleError: the bundle is incomplete; the message is the first problem.
    """
    manifest = read_manifest(folder)
    for problem in quick_problems(folder, manifest):
        raise BundleError(f"The bundle in {folder} cannot be used: {problem}.")
    return Bundle(folder, manifest)


def read_ahead(bundle: Bundle) -> None:
    """Read the weights into the page cache on a thread of its own, while the libraries are imported.

    Reading and importing take seconds each. Weights that both checkpoints share are read once.
    """
    paths = {entry.sha256: path for path, entry in bundle.manifest.files.items() if path.endswith(".safetensors")}

    def read() -> None:
        buffer = bytearray(_READ_AHEAD_BYTES)
        for path in paths.values():
            with (bundle.folder / path).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    threading.Thread(target=read, name="read-ahead", daemon=True).start()
