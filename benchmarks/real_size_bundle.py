"""A bundle of the published models' size with random weights, from configurations alone: for loading, not for looking.

    python -m benchmarks.real_size_bundle out/bench/real-size

Stable Diffusion 1.5, its inpainting and SAM ViT-B: in float16 as they are published, or in bfloat16, which takes as
many bytes and which a CPU computes with. As there, both checkpoints carry the same VAE and text encoder. The folders of
both are what diffusers' own pipelines load, too. Activations keep their size from layer to layer, as in trained models,
so that half precision does not overflow.
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

_SEGMENTER_TYPE: Final = "vit_b"
_SPREAD: Final = 0.02


class _Filling:
    """Gives models that hold no data their weights."""

    def __init__(self, numbers: torch.Generator, dtype: torch.dtype) -> None:
        self._numbers = numbers
        self._dtype = dtype

    @torch.no_grad()
    def fill(self, model: Any) -> Any:
        """The model on the CPU: norms that change nothing, no biases, and small random numbers elsewhere."""
        filled: nn.Module = model.to(self._dtype).to_empty(device=self._numbers.device)
        for name, weight in (*filled.named_parameters(), *filled.named_buffers()):
            if not weight.is_floating_point():
                weight.copy_(torch.arange(weight.numel()).view_as(weight))  # positions, the only integers there are
            elif weight.dim() > 1:
                inputs = weight[0].numel()
                weight.normal_(std=min(_SPREAD, inputs**-0.5), generator=self._numbers)
            else:
                weight.fill_(1 if name.endswith("weight") else 0)
        return filled.cpu()


def main(folder: Path) -> None:
    """Make the bundle, unless it is there already."""
    make(folder)


def make(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.bfloat16) -> Path:
    """Make the bundle, unless it is there already; about 4.5 GB.

    Args:
        folder: Where.
        device: Where the random numbers are drawn; a GPU needs seconds for them, a CPU minutes.
        dtype: Of the weights.
    """
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _fill(unfinished, _Filling(torch.Generator(device).manual_seed(0), dtype))
    write_manifest(unfinished, name="random", version="1", licence="none: random numbers", native_size=512)
    unfinished.rename(folder)
    return folder


def _fill(folder: Path, filling: _Filling) -> None:
    models = of_stable_diffusion_15(_SEGMENTER_TYPE)
    text_encoder: Any = models.text_to_image.text_encoders[0]
    shared = {"vae": filling.fill(models.text_to_image.vae), "text_encoder": filling.fill(text_encoder)}
    for name, checkpoint in ((TEXT_TO_IMAGE, models.text_to_image), (INPAINTING, models.inpainting)):
        for component, model in {**shared, "unet": filling.fill(checkpoint.unet)}.items():
            model.save_pretrained(folder / name / component)
        shutil.copytree(DEMO / name / "scheduler", folder / name / "scheduler")
        _write_index(name, folder, vae=type(models.text_to_image.vae).__name__)
        _copy_tokenizer(name, folder, length=text_encoder.config.max_position_embeddings)
    (folder / SEGMENTER).mkdir()
    (folder / SEGMENTER / "config.json").write_text(json.dumps({"type": _SEGMENTER_TYPE}))
    save_file(filling.fill(models.segmenter).state_dict(), folder / SEGMENTER / "model.safetensors")


def _write_index(name: str, folder: Path, *, vae: str) -> None:
    """What diffusers' pipelines are told of the demo's, but for the autoencoder, which is of another class there."""
    index = json.loads((DEMO / name / "model_index.json").read_text())
    (folder / name / "model_index.json").write_text(json.dumps({**index, "vae": ["diffusers", vae]}))


def _copy_tokenizer(name: str, folder: Path, *, length: int) -> None:
    """The demo's own words, padded to the published text encoder's length: its vocabulary is part of the larger one."""
    target = folder / name / "tokenizer"
    shutil.copytree(DEMO / name / "tokenizer", target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    (target / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": length}))


if __name__ == "__main__":
    typer.run(main)
