"""Verifying bundles, writing manifests, finding and opening bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from inpaint_server.errors import BundleError
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.device import choose
from inpaint_server.models.layout import MANIFEST
from inpaint_server.models.manifest import verify, write_manifest

VAE = "stable-diffusion-inpainting/vae/diffusion_pytorch_model.safetensors"
METADATA: dict[str, Any] = {"name": "demo", "version": "test", "licence": "Apache-2.0", "native_size": 256}


def test_demo_bundle_is_complete_and_small():
    assert verify(bundles.DEMO) == []
    files = bundles.open_bundle(bundles.DEMO).manifest.files.values()
    assert sum(entry.bytes for entry in files) <= 24_000_000


def test_missing_file_is_named(copy: Path):
    (copy / VAE).unlink()
    assert [problem.partition(" (")[0] for problem in verify(copy)] == [f"{VAE} is missing"]
    with pytest.raises(BundleError, match="is missing"):
        bundles.open_bundle(copy)


def test_truncated_file_is_named_with_both_sizes(copy: Path):
    whole = (copy / VAE).read_bytes()
    (copy / VAE).write_bytes(whole[:100])
    assert verify(copy) == [f"{VAE} has 100 bytes instead of {len(whole):,}: copy it again"]


def test_changed_byte_fails_checksum(copy: Path):
    changed = bytearray((copy / VAE).read_bytes())
    changed[-1] ^= 1
    (copy / VAE).write_bytes(changed)
    assert verify(copy) == [f"{VAE} is damaged (its SHA-256 is not the manifest's): copy it again"]


def test_unlisted_file_is_named(copy: Path):
    (copy / "unet.bin").write_bytes(b"x")
    assert verify(copy) == ["unet.bin is not in the manifest: remove it or make the manifest again"]


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"format": 2}'])
def test_invalid_manifest_is_reported(copy: Path, manifest: bytes):
    (copy / MANIFEST).write_bytes(manifest)
    assert "is not a bundle's manifest" in verify(copy)[0]


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "sam/../../x"])
def test_manifest_path_outside_folder_is_reported(copy: Path, path: str):
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert "is outside the bundle" in verify(copy)[0]


def test_empty_folder_error_names_bundle_maker(tmp_path: Path):
    assert "inpaint-server bundle make" in verify(tmp_path)[0]


@pytest.mark.parametrize("name", ["model.pth", "sam/old.ckpt", "pytorch_model.bin"])
def test_folder_with_pickle_is_refused(copy: Path, name: str):
    (copy / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="is a pickle"):
        write_manifest(copy, **METADATA)


def test_folder_with_symbolic_link_is_refused(copy: Path):
    (copy / "link.json").symlink_to("bundle.json")
    with pytest.raises(BundleError, match="symbolic link"):
        write_manifest(copy, **METADATA)


def test_demo_bundle_is_found_by_name_only(tmp_path: Path):
    assert bundles.find("demo", tmp_path) == bundles.DEMO
    with pytest.raises(BundleError, match="INPAINT_BUNDLE"):
        bundles.find("", tmp_path)


def test_model_dir_is_searched_first(copy: Path):
    assert bundles.find("", copy) == copy


def test_equal_vae_and_text_encoder_are_loaded_once(backend: TorchBackend):
    ours, theirs = (storages(checkpoint) for checkpoint in (backend.text_to_image, backend.inpainting))
    assert ours == theirs


def storages(checkpoint: Checkpoint) -> list[int]:
    """Where the weights of VAE and text encoders lie."""
    modules = [checkpoint.vae, *(encoder.model for encoder in checkpoint.prompts.encoders)]
    return [weight.data_ptr() for module in modules for weight in module.parameters()]


def test_no_weight_file_stays_mapped():
    """In the files' own precision, in which no conversion copies the weights."""
    backend = TorchBackend(bundles.open_bundle(bundles.DEMO), choose("cpu", "float16"))
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    assert backend.card.dtype == "float16"
    assert [path for path in mapped if path.endswith(".safetensors")] == []


def test_different_vaes_are_loaded_separately(copy: Path):
    weights = load_file(copy / VAE)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, copy / VAE)
    write_manifest(copy, **METADATA)
    backend = TorchBackend(bundles.open_bundle(copy), choose("cpu", "float32"))
    pointers = [next(model.vae.parameters()).data_ptr() for model in (backend.text_to_image, backend.inpainting)]
    assert pointers[0] != pointers[1]
    assert backend.text_to_image.prompts is backend.inpainting.prompts


def test_unknown_vae_class_is_refused_by_name(copy: Path):
    config = copy / "stable-diffusion" / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "VQModel"}))
    write_manifest(copy, **METADATA)
    with pytest.raises(BundleError, match="VQModel"):
        TorchBackend(bundles.open_bundle(copy), choose("cpu", "float32"))
