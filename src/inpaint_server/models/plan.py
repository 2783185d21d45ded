"""What a batch of adverts needs on a device, computed without weights and without the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from inpaint_server.domain.geometry import Size
from inpaint_server.models.architectures import Architectures
from inpaint_server.models.cost import Cost, measure, weight_bytes
from inpaint_server.models.feature_reuse import deep_channels
from inpaint_server.models.graphs import ROWS

LATENT_CELL: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """The limits of a device.

    Attributes:
        operations_per_s: Dense half-precision arithmetic, from published measurements, not from the data sheet.
        bytes_per_s: Memory bandwidth.
        memory_bytes: Its memory.
    """

    operations_per_s: float
    bytes_per_s: float
    memory_bytes: float


ACCELERATORS: Final = {"a10g": Accelerator(operations_per_s=70e12, bytes_per_s=600e9, memory_bytes=24e9)}
_CONTEXT_BYTES: Final = 1.0e9
"""Taken by CUDA, its libraries and the allocator's gaps; assumed, not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One model's part in an advert.

    Attributes:
        name: The stage's name.
        calls: Forward passes for each batch of adverts.
        cost: Of one forward pass.
    """

    name: str
    calls: int
    cost: Cost

    def floor_s(self, device: Accelerator) -> float:
        """A lower bound of its seconds: of arithmetic, or of reading the weights."""
        per_call = max(self.cost.operations / device.operations_per_s, self.cost.weight_bytes / device.bytes_per_s)
        return self.calls * per_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch of adverts on a device.

    Attributes:
        stages: In the order of the pipeline.
        weight_bytes: Of all models; what both checkpoints share counts once.
        graph_bytes: Of the UNets' CUDA graphs: their memory pool, and the buffers of their inputs and results.
        batch: Adverts in the batch.
    """

    stages: tuple[Stage, ...]
    weight_bytes: int
    graph_bytes: int
    batch: int

    @property
    def peak_bytes(self) -> int:
        """Weights, CUDA graphs, and the largest activations of any stage, which may run without its graph."""
        return self.weight_bytes + self.graph_bytes + max(stage.cost.activation_bytes for stage in self.stages)

    def fits(self, device: Accelerator) -> bool:
        """Whether it fits into the device's memory beside the CUDA context."""
        return self.peak_bytes + _CONTEXT_BYTES <= device.memory_bytes

    def floor_s(self, device: Accelerator) -> float:
        """A lower bound of the batch's seconds."""
        return sum(stage.floor_s(device) for stage in self.stages)


def make_plan(models: Architectures, *, size: Size, batch: int, steps: int, dtype: torch.dtype = torch.float16) -> Plan:
    """Plan a batch of adverts: a background and two inpainting passes, with guidance.

    Segment Anything encodes the photo, and the finished picture for its receipt. Each advert has three prompts: the
    background's, the foreground's and the negative one.

    Args:
        models: The models.
        size: The canvas.
        batch: Adverts in the batch.
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
            Stage(name="generate backgrounds", calls=steps, cost=_evaluate(background, text, rows, latents, dtype)),
            Stage(name="encode canvases", calls=2 * batch, cost=_encode_canvas(vae, size, dtype)),
            Stage(name="inpaint", calls=2 * steps, cost=_evaluate(inpainting, text, rows, latents, dtype)),
            Stage(name="decode canvases", calls=3 * batch, cost=_decode_canvas(vae, latents, dtype)),
        )
    evaluations = [stage.cost for stage in stages if stage.name in {"generate backgrounds", "inpaint"}]
    per_cell = max(cost.activation_bytes for cost in evaluations) / (rows * latents[0] * latents[1])
    copies = ([] if models.shares_text_encoder else [text]) + ([] if models.shares_vae else [vae])
    weights = weight_bytes([models.segmenter, text, vae, background, inpainting])
    return Plan(
        stages=stages,
        weight_bytes=weights + sum(weight_bytes([model]) for model in copies),
        graph_bytes=_graph_bytes([background, inpainting], text, per_cell, dtype),
        batch=batch,
    )


def _evaluate(unet: Any, text: Any, rows: int, latents: tuple[int, int], dtype: torch.dtype) -> Cost:
    samples = torch.empty(rows, unet.config["in_channels"], *latents, dtype=dtype)
    prompt_embeds = torch.empty(rows, _tokens(text), unet.config["cross_attention_dim"], dtype=dtype)
    return measure(
        unet, lambda: unet(samples, torch.empty(rows), encoder_hidden_states=prompt_embeds, return_dict=False)
    )


def _graph_bytes(unets: Sequence[Any], text: Any, activation_bytes_per_cell: float, dtype: torch.dtype) -> int:
    """Of what is captured at start-up: the native size, with and without reuse of features; see `graphs`.

    All share a pool for the activations of the largest call. Each has buffers for the most rows.

    Args:
        unets: Both.
        text: The text encoder.
        activation_bytes_per_cell: Of a row, the larger of both UNets'.
        dtype: Precision of weights and activations.
    """
    total = 0.0
    for unet in unets:
        cells = unet.config["sample_size"] ** 2
        channels = unet.config["in_channels"] + unet.config["out_channels"] + deep_channels(unet)
        numbers = channels * cells + _tokens(text) * unet.config["cross_attention_dim"]
        # The deep features are a result of the full evaluation and an input of the shallow one.
        total += 2 * ROWS[-1] * (numbers * dtype.itemsize + torch.float32.itemsize)
    pool = ROWS[-1] * max(unet.config["sample_size"] ** 2 for unet in unets) * activation_bytes_per_cell
    return int(total + pool)


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
