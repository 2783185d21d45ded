"""What a bundle needs on a device, from its configurations alone: no weights are read and no device is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from inpaint_server.domain.geometry import Size
from inpaint_server.errors import OutOfMemory
from inpaint_server.models.backend import vae_class
from inpaint_server.models.bundle import INPAINTING, SEGMENTER, TEXT_TO_IMAGE, Bundle
from inpaint_server.models.cost import Cost, measure, weight_bytes
from inpaint_server.models.sam import PUBLISHED, SamConfig, build_sam

LATENT_CELL: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What a device can do at most.

    Attributes:
        operations_per_s: Dense half-precision arithmetic that was measured publicly, not the data sheet's.
        bytes_per_s: Memory bandwidth.
        memory_bytes: Its memory.
    """

    operations_per_s: float
    bytes_per_s: float
    memory_bytes: float


ACCELERATORS: Final = {"a10g": Accelerator(operations_per_s=70e12, bytes_per_s=600e9, memory_bytes=24e9)}
_SD15_UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_SD15_VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 512,
}
_CONTEXT_BYTES: Final = 1.0e9
"""What CUDA, its libraries and the allocator's gaps take; an assumption, to be measured on the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One model's part in an advert.

    Attributes:
        name: What it is.
        calls: Forwards for each batch of adverts.
        cost: Of one forward.
    """

    name: str
    calls: int
    cost: Cost

    def floor_s(self, device: Accelerator) -> float:
        """Seconds that arithmetic, or reading the weights, takes at least."""
        once = max(self.cost.operations / device.operations_per_s, self.cost.weight_bytes / device.bytes_per_s)
        return self.calls * once


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch of adverts on a device.

    Attributes:
        stages: In the order of the pipeline.
        weight_bytes: All models together, what both checkpoints share once.
        batch: Adverts painted side by side.
    """

    stages: tuple[Stage, ...]
    weight_bytes: int
    batch: int

    @property
    def peak_bytes(self) -> int:
        """Weights and the hungriest stage's activations."""
        return self.weight_bytes + max(stage.cost.activation_bytes for stage in self.stages)

    def fits(self, device: Accelerator) -> bool:
        """Whether the device's memory holds it, with what its runtime takes itself."""
        return self.peak_bytes + _CONTEXT_BYTES <= device.memory_bytes

    def floor_s(self, device: Accelerator) -> float:
        """Seconds for the batch at least."""
        return sum(stage.floor_s(device) for stage in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Architectures:
    """The five models without weights, and which of them both checkpoints share."""

    segmenter: Any
    text_encoder: Any
    vae: Any
    text_to_image: Any
    inpainting: Any
    shares_text_encoder: bool
    shares_vae: bool


def of_bundle(bundle: Bundle) -> Architectures:
    """The models of a bundle, from its configurations."""
    folder = bundle.folder
    unets = [_config(folder / name / "unet") for name in (TEXT_TO_IMAGE, INPAINTING)]
    vae_folder = folder / TEXT_TO_IMAGE / "vae"
    return _build(
        sam=SamConfig.from_json(folder / SEGMENTER / "config.json"),
        text=CLIPTextConfig.from_pretrained(folder / TEXT_TO_IMAGE / "text_encoder"),
        vae=(vae_class(vae_folder), _config(vae_folder)),
        unets=(unets[0], unets[1]),
        shares=(bundle.shares("text_encoder"), bundle.shares("vae")),
    )


def of_stable_diffusion_15(sam: str) -> Architectures:
    """The published models this server is meant for: Stable Diffusion 1.5 and its inpainting, and a published SAM."""
    clip = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    return _build(
        sam=PUBLISHED[sam],
        text=clip,
        vae=(AutoencoderKL, _SD15_VAE),
        unets=({**_SD15_UNET, "in_channels": 4}, {**_SD15_UNET, "in_channels": 9}),
        shares=(True, True),
    )


def make_plan(models: Architectures, *, size: Size, batch: int, steps: int, dtype: torch.dtype = torch.float16) -> Plan:
    """Plan a batch of adverts: a background and two inpainting passes, with guidance.

    Segment Anything sees the photo, and the finished picture for its receipt. Each advert has three texts: for the
    background, for the foreground, and the negative one.

    Args:
        models: What runs.
        size: The canvas.
        batch: Adverts side by side.
        steps: Of each pass.
        dtype: Precision of weights and activations.
    """
    latents = (size.height // LATENT_CELL, size.width // LATENT_CELL)
    text, vae = (model.to(dtype) for model in (models.text_encoder, models.vae))
    background, inpainting = (model.to(dtype) for model in (models.text_to_image, models.inpainting))
    models.segmenter.image_encoder.to(dtype)
    rows = 2 * batch
    with torch.device("meta"):
        stages = (
            Stage(name="segment", calls=2 * batch, cost=_segment(models.segmenter, dtype)),
            Stage(name="encode prompts", calls=3 * batch, cost=_encode_prompt(text)),
            Stage(name="paint backgrounds", calls=steps, cost=_evaluate(background, text, rows, latents, dtype)),
            Stage(name="encode canvases", calls=2 * batch, cost=_encode_canvas(vae, size, dtype)),
            Stage(name="inpaint", calls=2 * steps, cost=_evaluate(inpainting, text, rows, latents, dtype)),
            Stage(name="decode canvases", calls=3 * batch, cost=_decode_canvas(vae, latents, dtype)),
        )
    again = ([] if models.shares_text_encoder else [text]) + ([] if models.shares_vae else [vae])
    weights = weight_bytes([models.segmenter, text, vae, background, inpainting])
    return Plan(stages=stages, weight_bytes=weights + sum(weight_bytes([model]) for model in again), batch=batch)


def largest_batch(make: Callable[[int], Plan], device: Accelerator, *, limit: int = 64) -> int:
    """The most adverts side by side that fit, up to a limit.

    Raises:
        OutOfMemory: not even one does.
    """
    fitting = 0
    while fitting < limit and make(fitting + 1).fits(device):
        fitting += 1
    if fitting == 0:
        raise OutOfMemory("Not even one advert of this size fits on the device: plan a smaller one.")
    return fitting


def _evaluate(unet: Any, text: Any, rows: int, latents: tuple[int, int], dtype: torch.dtype) -> Cost:
    samples = torch.empty(rows, unet.config["in_channels"], *latents, dtype=dtype)
    words = torch.empty(rows, _tokens(text), unet.config["cross_attention_dim"], dtype=dtype)
    return measure(unet, lambda: unet(samples, torch.empty(rows), encoder_hidden_states=words, return_dict=False))


def _encode_prompt(text: Any) -> Cost:
    tokens = torch.ones(1, _tokens(text), dtype=torch.long)
    return measure(text, lambda: text(tokens))


def _encode_canvas(vae: Any, size: Size, dtype: torch.dtype) -> Cost:
    picture = torch.empty(1, 3, size.height, size.width, dtype=dtype)
    return measure(vae, lambda: vae.encode(picture, return_dict=False))


def _decode_canvas(vae: Any, latents: tuple[int, int], dtype: torch.dtype) -> Cost:
    cells = torch.empty(1, vae.config["latent_channels"], *latents, dtype=dtype)
    return measure(vae, lambda: vae.decode(cells, return_dict=False))


def _segment(sam: Any, dtype: torch.dtype) -> Cost:
    """The image encoder; the decoder is a hundredth of it and not counted."""
    side = sam.image_encoder.img_size
    picture = torch.empty(1, 3, side, side, dtype=dtype)
    return measure(sam.image_encoder, lambda: sam.image_encoder(picture))


def _tokens(text: Any) -> int:
    return text.config.max_position_embeddings


def _build(
    *,
    sam: SamConfig,
    text: CLIPTextConfig,
    vae: tuple[Any, dict[str, Any]],
    unets: tuple[dict[str, Any], dict[str, Any]],
    shares: tuple[bool, bool],
) -> Architectures:
    unet: Any = UNet2DConditionModel
    with torch.device("meta"):
        return Architectures(
            segmenter=build_sam(sam),
            text_encoder=CLIPTextModel(text).eval(),
            vae=vae[0].from_config(vae[1]).eval(),
            text_to_image=unet.from_config(unets[0]).eval(),
            inpainting=unet.from_config(unets[1]).eval(),
            shares_text_encoder=shares[0],
            shares_vae=shares[1],
        )


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())
