"""A bundle of the published models' size with random weights, from configurations alone: for loading, not for looking.

    python -m benchmarks.real_size_bundle out/bench/real-size

Stable Diffusion 1.5, its inpainting and SAM ViT-B in bfloat16, which a CPU computes with and which takes as many bytes
as the float16 of the published files. As there, both checkpoints carry the same VAE and text encoder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch
import typer
from safetensors.torch import save_file
from torch import nn

from inpaint_server.models.architectures import of_stable_diffusion_15
from inpaint_server.models.bundle import DEMO
from inpaint_server.models.layout import INPAINTING, SEGMENTER, TEXT_TO_IMAGE
from inpaint_server.models.manifest import write_manifest

DTYPE: Final = torch.bfloat16
_SEGMENTER_TYPE: Final = "vit_b"
_SPREAD: Final = 0.02


def main(folder: Path) -> None:
    """Make the bundle, unless it is there already."""
    make(folder)


def make(folder: Path) -> Path:
    """Make the bundle, unless it is there already; about 5 GB."""
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _fill(unfinished)
    write_manifest(unfinished, name="random", version="1", licence="none: random numbers", native_size=512)
    unfinished.rename(folder)
    return folder


def _fill(folder: Path) -> None:
    models = of_stable_diffusion_15(_SEGMENTER_TYPE)
    numbers = torch.Generator().manual_seed(0)
    shared = {"vae": _filled(models.vae, numbers), "text_encoder": _filled(models.text_encoder, numbers)}
    for name, unet in ((TEXT_TO_IMAGE, models.text_to_image), (INPAINTING, models.inpainting)):
        for component, model in {**shared, "unet": _filled(unet, numbers)}.items():
            model.save_pretrained(folder / name / component)
        shutil.copytree(DEMO / name / "scheduler", folder / name / "scheduler")
        _copy_tokenizer(name, folder, length=models.text_encoder.config.max_position_embeddings)
    (folder / SEGMENTER).mkdir()
    (folder / SEGMENTER / "config.json").write_text(json.dumps({"type": _SEGMENTER_TYPE}))
    save_file(_filled(models.segmenter, numbers).state_dict(), folder / SEGMENTER / "model.safetensors")


def _copy_tokenizer(name: str, folder: Path, *, length: int) -> None:
    """The demo's own words, padded to the published text encoder's length: its vocabulary is part of the larger one."""
    target = folder / name / "tokenizer"
    shutil.copytree(DEMO / name / "tokenizer", target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    (target / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": length}))


def _filled(model: Any, numbers: torch.Generator) -> Any:
    """A model that held no data, with small random numbers for weights."""
    filled: nn.Module = model.to(DTYPE).to_empty(device="cpu")
    with torch.no_grad():
        for weight in (*filled.parameters(), *filled.buffers()):
            if weight.is_floating_point():
                weight.normal_(std=_SPREAD, generator=numbers)
            else:
                weight.copy_(torch.arange(weight.numel()).view_as(weight))  # positions, the only integers there are
    return filled


if __name__ == "__main__":
    typer.run(main)
