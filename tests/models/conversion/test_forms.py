"""Every form of a checkpoint that docs/bundles.md lists: it becomes a bundle, or one sentence says what to do."""

from __future__ import annotations

import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inpaint_server.models.bundle import DEMO
from inpaint_server.models.conversion import sam_weights
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE
from inpaint_server.models.manifest import verify
from testing import checkpoints
from testing.checkpoints import SMALL_SAM, TEXT_WEIGHTS, UNET_WEIGHTS, VAE_WEIGHTS, edit_json, original_names
from tests.models.conversion.conftest import Base, Make
from tests.models.conversion.test_families import FAMILY_FORMS

PAGE = Path(__file__).parents[3] / "docs" / "bundles.md"
Form = Callable[[Base], dict[str, Any]]
ACCEPTED: dict[str, Form] = {}
REFUSED: dict[str, tuple[Form, str]] = {}


def accepted(name: str) -> Callable[[Form], Form]:
    def register(form: Form) -> Form:
        ACCEPTED[name] = form
        return form

    return register


def refused(name: str, message: str) -> Callable[[Form], Form]:
    def register(form: Form) -> Form:
        REFUSED[name] = (form, message)
        return form

    return register


def copied(source: Path, tmp: Path) -> Path:
    return Path(shutil.copytree(source, tmp / source.name))


def single(base: Base, change: Callable[[dict[str, Tensor]], Any] | None = None) -> Path:
    weights = original_names(base.text_to_image)
    if change is not None:
        change(weights)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, base.folder / "sd.safetensors")
    return base.folder / "sd.safetensors"


def drop(prefix: str) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        for name in [name for name in weights if name.startswith(prefix)]:
            del weights[name]

    return change


def in_hub_cache(source: Path, tmp: Path) -> Path:
    """A repository as the hub's library keeps it: files by checksum, and links to them in a snapshot."""
    repository = tmp / "hub" / "models--someone--sd"
    snapshot = repository / "snapshots" / ("c" * 40)
    (repository / "blobs").mkdir(parents=True)
    for number, file in enumerate(path for path in sorted(source.rglob("*")) if path.is_file()):
        blob = repository / "blobs" / str(number)
        shutil.copy(file, blob)
        link = snapshot / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    return repository


def shard(file: Path, variant: str = "") -> Path:
    """Two shards and their index in the place of a whole file."""
    weights, stem = load_file(file), file.name.removesuffix(".safetensors")
    weight_map: dict[str, str] = {}
    for number in (1, 2):
        name = f"{stem}{variant}-{number:05}-of-00002.safetensors"
        part = {key: weights[key] for key in sorted(weights)[number - 1 :: 2]}
        save_file(part, file.with_name(name))
        weight_map |= dict.fromkeys(part, name)
    index = file.with_name(f"{stem}.safetensors.index{variant}.json")
    checkpoints.write_json(index, {"metadata": {}, "weight_map": weight_map})
    file.unlink()
    return index


def pointer(file: Path) -> None:
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {file.stat().st_size}\n")


@accepted("diffusers folder, `.safetensors`")
def _(_base: Base) -> dict[str, Any]:
    return {}


@accepted("diffusers folder, `.bin` (pickles)")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    for file in (UNET_WEIGHTS, VAE_WEIGHTS, TEXT_WEIGHTS):
        name = (folder / file).name.replace("safetensors", "bin")
        torch.save(load_file(folder / file), (folder / file).with_name("pytorch_model.bin" if name[0] == "m" else name))
        (folder / file).unlink()
    return {"text_to_image": folder}


@accepted("diffusers folder with files of the variant `fp16` alone")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.inpainting, base.folder)
    for file in (UNET_WEIGHTS, VAE_WEIGHTS, TEXT_WEIGHTS):
        checkpoints.save_half(folder / file, (folder / file).with_suffix(".fp16.safetensors"))
        (folder / file).unlink()
    return {"inpainting": folder}


@accepted("diffusers folder, weights in shards with an index")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    shard(folder / UNET_WEIGHTS)
    shard(folder / TEXT_WEIGHTS, ".fp16")
    return {"text_to_image": folder}


@accepted("diffusers folder whose `safety_checker` is null")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    edit_json(folder / "model_index.json", safety_checker=[None, None])
    return {"text_to_image": folder}


@accepted("diffusers folder without `model_index.json`")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    (folder / "model_index.json").unlink()
    return {"text_to_image": folder}


@accepted("diffusers folder from before version 0.13 (other names in the VAE)")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / VAE_WEIGHTS)
    renamed = {re.sub(r"to_(?:[qkv]|out\.0)", lambda new: old[new[0]], name): weights[name] for name in weights}
    assert renamed.keys() != weights.keys()
    save_file(renamed, folder / VAE_WEIGHTS)
    return {"text_to_image": folder}


@accepted("diffusers folder, Git LFS pointers beside fetched files of another variant")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    checkpoints.save_half(folder / UNET_WEIGHTS, (folder / UNET_WEIGHTS).with_suffix(".fp16.safetensors"))
    pointer(folder / UNET_WEIGHTS)
    return {"text_to_image": folder}


@accepted("repository in the hub's cache (`models--OWNER--NAME`)")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": in_hub_cache(base.text_to_image, base.folder)}


@accepted("snapshot in the hub's cache (a folder of links)")
def _(base: Base) -> dict[str, Any]:
    return {"inpainting": next((in_hub_cache(base.inpainting, base.folder) / "snapshots").iterdir())}


@accepted("single file, `.safetensors`")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": single(base)}


@accepted("single file, `.ckpt`")
def _(base: Base) -> dict[str, Any]:
    torch.save({"state_dict": original_names(base.inpainting), "global_step": 7}, base.folder / "inpainting.ckpt")
    return {"inpainting": base.folder / "inpainting.ckpt"}


@accepted("single file, `.ckpt` in PyTorch's format from before 1.6")
def _(base: Base) -> dict[str, Any]:
    weights = original_names(base.inpainting)
    torch.save({"state_dict": weights}, base.folder / "old.ckpt", _use_new_zipfile_serialization=False)
    return {"inpainting": base.folder / "old.ckpt"}


@accepted("single file, `.ckpt` with Lightning's record of its training")
def _(base: Base) -> dict[str, Any]:
    module = ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.__dict__["ModelCheckpoint"] = callback
    content = {"state_dict": original_names(base.inpainting), "callbacks": {callback: {"best": torch.ones(())}}}
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__)
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, module)
        torch.save(content, base.folder / "trained.ckpt")
    return {"inpainting": base.folder / "trained.ckpt"}


@accepted("single file with averaged weights (`model_ema.`) beside the others")
def _(base: Base) -> dict[str, Any]:
    def add(weights: dict[str, Tensor]) -> None:
        flat = {name.replace(".", ""): weight for name, weight in weights.items() if name.startswith("model.")}
        weights.update({f"model_ema.{name.removeprefix('model')}": weight + 1 for name, weight in flat.items()})

    return {"text_to_image": single(base, add)}


@accepted("single file whose text encoder lacks `text_model.` in its names")
def _(base: Base) -> dict[str, Any]:
    def rename(weights: dict[str, Tensor]) -> None:
        for name in [name for name in weights if ".text_model." in name]:
            weights[name.replace(".text_model.", ".")] = weights.pop(name)

    return {"text_to_image": single(base, rename)}


@accepted("pickle named `.safetensors`, or the reverse")
def _(base: Base) -> dict[str, Any]:
    save_file(checkpoints.sam_weights(), base.folder / "sam.pth")
    torch.save({"state_dict": original_names(base.text_to_image)}, base.folder / "sd.safetensors")
    return {"text_to_image": base.folder / "sd.safetensors", "sam": base.folder / "sam.pth"}


@accepted("Segment Anything, `.pth`")
def _(base: Base) -> dict[str, Any]:
    return {"sam": base.sam}


@accepted('Segment Anything inside `{"model": ...}`, names with `module.`')
def _(base: Base) -> dict[str, Any]:
    weights = {f"module.{name}": weight for name, weight in checkpoints.sam_weights().items()}
    torch.save({"model": weights, "epoch": 3}, base.folder / "tuned.pth")
    return {"sam": base.folder / "tuned.pth"}


@accepted("Segment Anything, `.safetensors`")
def _(base: Base) -> dict[str, Any]:
    save_file(checkpoints.sam_weights(), base.folder / "sam.safetensors")
    return {"sam": base.folder / "sam.safetensors"}


@accepted("Segment Anything, transformers' `SamModel` folder")
def _(base: Base) -> dict[str, Any]:
    checkpoints.save_transformers_sam(base.folder / "sam")
    file = base.folder / "sam" / "model.safetensors"
    theirs, ours = load_file(file), checkpoints.sam_weights()
    renamed = {new: old for old in theirs for new in sam_weights.published_names({old: theirs[old]})}
    same = {renamed[name]: weight for name, weight in ours.items()}
    save_file({**theirs, **same}, file)
    return {"sam": base.folder / "sam"}


@accepted("`sam/` of a bundle")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sam").mkdir()
    save_file(checkpoints.sam_weights(), base.folder / "sam" / "model.safetensors")
    checkpoints.write_json(base.folder / "sam" / "config.json", SMALL_SAM.to_mapping())
    return {"sam": base.folder / "sam"}


@refused("nothing at that path", "is no file or folder here")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.folder / "nothing.safetensors"}


@refused("empty file", "is empty: download it again")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sd.safetensors").touch()
    return {"text_to_image": base.folder / "sd.safetensors"}


@refused("cut `.safetensors`", "is cut (2,000,000 of ")
def _(base: Base) -> dict[str, Any]:
    path = single(base)
    path.write_bytes(path.read_bytes()[:2_000_000])
    return {"text_to_image": path}


@refused("`.safetensors` cut within its header", "is cut (500 of ")
def _(base: Base) -> dict[str, Any]:
    path = single(base)
    path.write_bytes(path.read_bytes()[:500])
    return {"text_to_image": path}


@refused("cut `.ckpt` or `.pth`", "is cut (100,000 bytes): download it again")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sam.pth").write_bytes(base.sam.read_bytes()[:100_000])
    return {"sam": base.folder / "sam.pth"}


@refused("cut pickle in PyTorch's old format", "is cut or damaged")
def _(base: Base) -> dict[str, Any]:
    torch.save(checkpoints.sam_weights(), base.folder / "old.pth", _use_new_zipfile_serialization=False)
    (base.folder / "old.pth").write_bytes((base.folder / "old.pth").read_bytes()[:-5000])
    return {"sam": base.folder / "old.pth"}


@refused("web page saved as weights", "is a web page saved as weights: download it again")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sd.ckpt").write_text("<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n" * 40)
    return {"text_to_image": base.folder / "sd.ckpt"}


@refused("error message saved as weights", 'is text ("{"error": "Access to model denied"}") saved as weights')
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sd.safetensors").write_text('{"error": "Access to model denied"}')
    return {"text_to_image": base.folder / "sd.safetensors"}


@refused("Git LFS pointer", "is a Git LFS pointer and not the weights: run `git lfs pull`")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    pointer(folder / UNET_WEIGHTS)
    return {"text_to_image": folder}


@refused("pickle that would run code", "is a pickle of more than weights (it asks for exec, which could run code)")
def _(base: Base) -> dict[str, Any]:
    torch.save({"state_dict": original_names(base.text_to_image), "harm": Harmful()}, base.folder / "sd.ckpt")
    return {"text_to_image": base.folder / "sd.ckpt"}


@refused("pickle of a whole model instead of its weights", "is a pickle of more than weights")
def _(base: Base) -> dict[str, Any]:
    torch.save(torch.nn.Linear(2, 2), base.folder / "sam.pth")
    return {"sam": base.folder / "sam.pth"}


@refused("pickle that PyTorch did not write", "is a pickle that PyTorch did not write")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sam.pth").write_bytes(pickle.dumps({"weights": 1}, protocol=2))
    return {"sam": base.folder / "sam.pth"}


@refused("archive (`.zip`, `.tar.gz`)", "is a zip archive of other files: unpack it")
def _(base: Base) -> dict[str, Any]:
    with zipfile.ZipFile(base.folder / "sd.zip", "w") as archive:
        archive.writestr("sd/model_index.json", "{}")
    return {"text_to_image": base.folder / "sd.zip"}


@refused("GGUF", "holds quantised weights in GGUF: get the same model as safetensors")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "sd.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(100))
    return {"text_to_image": base.folder / "sd.gguf"}


@refused("TorchScript", "is a TorchScript program and not weights")
def _(base: Base) -> dict[str, Any]:
    with zipfile.ZipFile(base.folder / "sam.pt", "w") as archive:
        archive.writestr("sam/data.pkl", "")
        archive.writestr("sam/constants.pkl", "")
    return {"sam": base.folder / "sam.pt"}


@refused("the two checkpoints swapped", "The two checkpoints are swapped")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.inpainting, "inpainting": base.text_to_image}


@refused("9 channels where 4 are meant", "takes 9 channels, for inpainting: give a checkpoint for text to image")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.inpainting}


@refused("8 channels (InstructPix2Pix)", "takes 8 channels, for editing by instruction")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": checkpoints.save_diffusers(base.folder / "pix2pix", channels=8, seed=8)}


@refused("text encoder of another width", "takes text embeddings 32 wide and its text encoder gives 96")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
        shutil.copytree(DEMO / TEXT_TO_IMAGE / part, folder / part)
    return {"text_to_image": folder}


@refused("tokenizer with more words than the text encoder", "words and the text encoder knows 1,000")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    weights = load_file(folder / TEXT_WEIGHTS)
    weights["embeddings.token_embedding.weight"] = weights["embeddings.token_embedding.weight"][:1000].clone()
    save_file(weights, folder / TEXT_WEIGHTS)
    edit_json(folder / "text_encoder" / "config.json", vocab_size=1000)
    return {"text_to_image": folder}


@refused("shards without their index", "without their index: copy its .index.json there, too")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    shard(folder / UNET_WEIGHTS).unlink()
    return {"text_to_image": folder}


@refused("a shard missing", "model-00002-of-00002.safetensors is missing")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    shard(folder / UNET_WEIGHTS)
    (folder / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    return {"text_to_image": folder}


@refused("one folder level too high", "is a level too high: give a checkpoint in it")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.text_to_image.parent}


@refused("one folder level too low (`unet/`)", "is a part of a checkpoint: give the folder above it")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.text_to_image / "unet"}


@refused("the hub's whole cache", "is a level too high: give a repository of the hub's cache in it")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": in_hub_cache(base.text_to_image, base.folder).parent}


@refused("folder of single files", "give the checkpoint's file in it")
def _(base: Base) -> dict[str, Any]:
    (base.folder / "folder").mkdir()
    (base.folder / "folder" / "v1-5.safetensors").touch()
    return {"text_to_image": base.folder / "folder"}


@refused("folder of something else", "is no diffusers folder")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.folder}


@refused("a part missing", "has no vae/: copy it there")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    shutil.rmtree(folder / "vae")
    return {"text_to_image": folder}


@refused("no `config.json`", "config.json is missing: copy it from where the model is from")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    (folder / "vae" / "config.json").unlink()
    return {"text_to_image": folder}


@refused("weights for Flax, TensorFlow or ONNX alone", "holds no weights (.safetensors or .bin)")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    (folder / UNET_WEIGHTS).rename(folder / "unet" / "diffusion_flax_model.msgpack")
    return {"text_to_image": folder}


@refused("configuration of another model", "does not fit its configuration (conv_in.weight is")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    shutil.copy(base.inpainting / "unet" / "config.json", folder / "unet" / "config.json")
    return {"text_to_image": folder}


@refused("link to a file that the hub's cache no longer has", "is a link to a file that is not there")
def _(base: Base) -> dict[str, Any]:
    repository = in_hub_cache(base.text_to_image, base.folder)
    next(repository.glob(f"snapshots/*/{UNET_WEIGHTS}")).resolve().unlink()
    return {"text_to_image": repository}


@refused("single file without its VAE", "has no autoencoder (VAE): use the full version of the checkpoint")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": single(base, drop("first_stage_model."))}


@refused("single file that lacks layers", "lacks layers of Stable Diffusion 1.x")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": single(base, drop("model.diffusion_model.out."))}


@refused("Stable Diffusion XL that predicts velocity, single file", "holds Stable Diffusion XL and does not say how it")
def _(base: Base) -> dict[str, Any]:
    return signs(base.folder, "conditioner.embedders.1.model.ln_final.weight", "v_pred")


@refused("Stable Diffusion XL's refiner", "holds Stable Diffusion XL (refiner): this server takes Stable Diffusion")
def _(base: Base) -> dict[str, Any]:
    folder = copied(base.text_to_image, base.folder)
    edit_json(folder / "unet" / "config.json", cross_attention_dim=1280, addition_embed_type="text_time")
    return {"text_to_image": folder}


@refused("Stable Diffusion 2.x, single file", "holds Stable Diffusion 2.x and does not say how it predicts: give")
def _(base: Base) -> dict[str, Any]:
    return signs(base.folder, "cond_stage_model.model.ln_final.weight", "model.diffusion_model.input_blocks.0.0.weight")


@refused("Stable Diffusion 3", "holds Stable Diffusion 3")
def _(base: Base) -> dict[str, Any]:
    return signs(base.folder, "model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight")


@refused("Flux", "holds Flux")
def _(base: Base) -> dict[str, Any]:
    return signs(base.folder, "double_blocks.0.img_attn.qkv.weight")


@refused("a LoRA as checkpoint", "holds a LoRA")
def _(base: Base) -> dict[str, Any]:
    return signs(base.folder, "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight")


@refused("a UNet's file alone", "holds a UNet alone")
def _(base: Base) -> dict[str, Any]:
    return {"text_to_image": base.text_to_image / UNET_WEIGHTS}


@refused("Segment Anything as diffusion checkpoint", "holds Segment Anything: this server takes")
def _(base: Base) -> dict[str, Any]:
    return {"inpainting": base.sam}


@refused("Stable Diffusion as segmenter", "holds Stable Diffusion 1.x and no Segment Anything")
def _(base: Base) -> dict[str, Any]:
    return {"sam": single(base)}


@refused("HQ-SAM", "holds HQ-SAM: this server takes Segment Anything's own")
def _(base: Base) -> dict[str, Any]:
    return sam_with(base.folder, "mask_decoder.hf_token.weight")


@refused("Segment Anything 2", "holds Segment Anything 2")
def _(base: Base) -> dict[str, Any]:
    return sam_with(base.folder, "image_encoder.trunk.patch_embed.proj.weight")


@refused("MobileSAM", "holds MobileSAM")
def _(base: Base) -> dict[str, Any]:
    return sam_with(base.folder, "image_encoder.layers.0.blocks.0.conv1.c.weight")


@refused("Segment Anything with layers of its own", "beyond its configuration")
def _(base: Base) -> dict[str, Any]:
    return sam_with(base.folder, "mask_decoder.extra.weight")


@refused("Segment Anything's decoder alone", "lacks parts of Segment Anything")
def _(base: Base) -> dict[str, Any]:
    decoder = {name: weight for name, weight in checkpoints.sam_weights().items() if name.startswith("mask_decoder.")}
    torch.save(decoder, base.folder / "decoder.pth")
    return {"sam": base.folder / "decoder.pth"}


def signs(tmp: Path, *names: str) -> dict[str, Any]:
    """A file with weights by which a family is known."""
    save_file({name: torch.zeros(1) for name in names}, tmp / "other.safetensors")
    return {"text_to_image": tmp / "other.safetensors"}


def sam_with(tmp: Path, name: str) -> dict[str, Any]:
    torch.save({**checkpoints.sam_weights(), name: torch.zeros(1)}, tmp / "sam.pth")
    return {"sam": tmp / "sam.pth"}


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('harm')",)


@pytest.mark.parametrize("name", ACCEPTED)
def test_form_becomes_bundle(name: str, base: Base, make: Make, tmp_path: Path):
    outcome = make(**ACCEPTED[name](replace(base, folder=tmp_path)))
    assert outcome.code == 0, outcome.errors
    assert verify(outcome.bundle) == []
    for folder, source in ((TEXT_TO_IMAGE, base.text_to_image), (INPAINTING, base.inpainting)):
        for file in (UNET_WEIGHTS, VAE_WEIGHTS, TEXT_WEIGHTS):
            written, original = load_file(outcome.bundle / folder / file), load_file(source / file)
            assert written.keys() == original.keys()
            assert all(torch.equal(written[name], original[name].half()) for name in written), file
    segmenter = load_file(outcome.bundle / "sam" / "model.safetensors")
    assert all(torch.equal(segmenter[name], weight) for name, weight in checkpoints.sam_weights().items())


@pytest.mark.parametrize("name", REFUSED)
def test_form_is_refused_in_one_sentence(name: str, base: Base, make: Make, tmp_path: Path):
    form, message = REFUSED[name]
    outcome = make(**form(replace(base, folder=tmp_path)))
    assert outcome.code == 1
    assert len(outcome.errors) == 1, outcome.errors
    assert message in outcome.errors[0]
    assert outcome.errors[0].endswith(".")
    assert outcome.output == ""


def test_documentation_lists_every_form_once():
    rows = re.findall(r"^\| (.+?) \| .+ \|$", PAGE.read_text().partition("## What people have")[2], re.MULTILINE)
    listed = [row for row in rows if row not in {"form", "---"}]
    assert listed == [*ACCEPTED, *FAMILY_FORMS, *REFUSED]
