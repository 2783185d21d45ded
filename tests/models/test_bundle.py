"""What is said of a bundle that is missing something, and how bundles are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from inpaint_server.errors import BundleError
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose

VAE = "stable-diffusion-inpainting/vae/diffusion_pytorch_model.safetensors"
AGAIN: dict[str, Any] = {"name": "demo", "version": "test", "licence": "Apache-2.0", "native_size": 256}


def test_the_demo_bundle_is_whole_and_small():
    assert bundles.verify(bundles.DEMO) == []
    files = bundles.open_bundle(bundles.DEMO).manifest.files.values()
    assert sum(entry.bytes for entry in files) <= 24_000_000


def test_a_missing_file_is_named(copy: Path):
    (copy / VAE).unlink()
    assert [problem.partition(" (")[0] for problem in bundles.verify(copy)] == [f"{VAE} is missing"]
    with pytest.raises(BundleError, match="is missing"):
        bundles.open_bundle(copy)


def test_a_cut_file_is_named_with_both_sizes(copy: Path):
    whole = (copy / VAE).read_bytes()
    (copy / VAE).write_bytes(whole[:100])
    assert bundles.verify(copy) == [f"{VAE} has 100 bytes instead of {len(whole):,}: copy it again"]


def test_a_changed_byte_is_found_by_its_checksum(copy: Path):
    changed = bytearray((copy / VAE).read_bytes())
    changed[-1] ^= 1
    (copy / VAE).write_bytes(changed)
    assert bundles.verify(copy) == [f"{VAE} is damaged (its SHA-256 is not the manifest's): copy it again"]


def test_a_file_nobody_listed_is_named(copy: Path):
    (copy / "unet.bin").write_bytes(b"x")
    assert bundles.verify(copy) == ["unet.bin is not in the manifest: remove it or make the manifest again"]


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"format": 2}'])
def test_a_manifest_that_is_none_is_told(copy: Path, manifest: bytes):
    (copy / bundles.MANIFEST).write_bytes(manifest)
    assert "is not a bundle's manifest" in bundles.verify(copy)[0]


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "sam/../../x"])
def test_a_manifest_names_nothing_outside_its_folder(copy: Path, path: str):
    manifest = json.loads((copy / bundles.MANIFEST).read_text())
    manifest["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    (copy / bundles.MANIFEST).write_text(json.dumps(manifest))
    assert "is outside the bundle" in bundles.verify(copy)[0]


def test_an_empty_folder_says_how_to_make_a_bundle(tmp_path: Path):
    assert "make_bundle.py" in bundles.verify(tmp_path)[0]


@pytest.mark.parametrize("name", ["model.pth", "sam/old.ckpt", "pytorch_model.bin"])
def test_a_pickle_gets_no_manifest(copy: Path, name: str):
    (copy / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="is a pickle"):
        bundles.write_manifest(copy, **AGAIN)


def test_a_symbolic_link_gets_no_manifest(copy: Path):
    (copy / "link.json").symlink_to("bundle.json")
    with pytest.raises(BundleError, match="symbolic link"):
        bundles.write_manifest(copy, **AGAIN)


def test_the_demo_bundle_is_found_only_by_name(tmp_path: Path):
    assert bundles.find("demo", tmp_path) == bundles.DEMO
    with pytest.raises(BundleError, match="INPAINT_BUNDLE"):
        bundles.find("", tmp_path)


def test_the_platforms_folder_comes_first(copy: Path):
    assert bundles.find("", copy) == copy


def test_equal_vae_and_text_encoder_are_in_memory_once(painter: TorchBackend):
    ours, theirs = painter.text_to_image, painter.inpainting
    for component in ("vae", "text_encoder"):
        pairs = zip(getattr(ours, component).parameters(), getattr(theirs, component).parameters(), strict=True)
        assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)


def test_no_file_stays_mapped_beside_the_weights_that_were_read_from_it():
    """In the files' own precision, in which nothing else would make a copy of every weight."""
    painter = TorchBackend(bundles.open_bundle(bundles.DEMO), choose("cpu", "float16"))
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    assert painter.card.dtype == "float16"
    assert [path for path in mapped if path.endswith(".safetensors")] == []


def test_a_vae_that_differs_is_in_memory_twice(copy: Path):
    weights = load_file(copy / VAE)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, copy / VAE)
    bundles.write_manifest(copy, **AGAIN)
    painter = TorchBackend(bundles.open_bundle(copy), choose("cpu", "float32"))
    pointers = [next(model.vae.parameters()).data_ptr() for model in (painter.text_to_image, painter.inpainting)]
    assert pointers[0] != pointers[1]
    assert painter.text_to_image.text_encoder is painter.inpainting.text_encoder


def test_a_component_of_another_architecture_does_not_load_and_says_so(copy: Path):
    config = copy / "stable-diffusion" / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "VQModel"}))
    bundles.write_manifest(copy, **AGAIN)
    with pytest.raises(BundleError, match="VQModel"):
        TorchBackend(bundles.open_bundle(copy), choose("cpu", "float32"))
