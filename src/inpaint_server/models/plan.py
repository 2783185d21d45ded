"""What a batch of adverts needs on a device, computed without weights and without the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from inpaint_server.domain.geometry import Size
from inpaint_server.models.architectures import Architectures, CheckpointArchitecture
from inpaint_server.models.cost import Cost, measure, weight_bytes
from inpaint_server.models.feature_reuse import deep_channels
from inpaint_server.models.graphs import ROWS
from inpaint_server.models.prompts import Conditioning

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
    generating, inpainting = models.text_to_image, models.inpainting
    models.segmenter.image_encoder.to(dtype)
    for checkpoint in (generating, inpainting):
        checkpoint.unet.to(dtype)
        checkpoint.text_encoders.to(dtype)
        checkpoint.vae.to(_vae_dtype(checkpoint, dtype))
    rows = 2 * batch
    with torch.device("meta"):
        stages = (
            Stage(name="segment", calls=2 * batch, cost=_segment(models.segmenter, dtype)),
            Stage(name="encode prompts", calls=3 * batch, cost=_encode_prompt(generating)),
            Stage(name="generate backgrounds", calls=steps, cost=_evaluate(generating, rows, latents, dtype)),
            Stage(name="encode canvases", calls=2 * batch, cost=_encode_canvas(inpainting, size, dtype)),
            Stage(name="inpaint", calls=2 * steps, cost=_evaluate(inpainting, rows, latents, dtype)),
            Stage(name="decode canvases", calls=3 * batch, cost=_decode_canvas(inpainting, latents, dtype)),
        )
    evaluations = [stage.cost for stage in stages if stage.name in {"generate backgrounds", "inpaint"}]
    per_cell = max(cost.activation_bytes for cost in evaluations) / (rows * latents[0] * latents[1])
    checkpoints = [generating] if generating is inpainting else [generating, inpainting]
    return Plan(
        stages=stages,
        weight_bytes=weight_bytes([models.segmenter, *_modules(generating), *_modules(inpainting)]),
        graph_bytes=_graph_bytes(checkpoints, per_cell, dtype),
        batch=batch,
    )


def possible_savings(models: Architectures) -> Iterator[tuple[str, int]]:
    """What a bundle that does not fit can share or leave out, and the bytes of weights that this saves.

    Args:
        models: As `make_plan` left them, in the precision that was planned.
    """
    generating, inpainting = models.text_to_image, models.inpainting
    if inpainting is generating:
        return
    both = weight_bytes([*_modules(generating), *_modules(inpainting)])
    yield (
        "leave stable-diffusion-inpainting/ out: one checkpoint does both jobs",
        both - weight_bytes(_modules(generating)),
    )
    for name, one, other in (
        ("text encoders", generating.text_encoders, inpainting.text_encoders),
        ("autoencoder", generating.vae, inpainting.vae),
    ):
        if one is not other and type(one) is type(other):
            yield f"give both checkpoints the same {name}", weight_bytes([other])


def _modules(checkpoint: CheckpointArchitecture) -> list[nn.Module]:
    return [checkpoint.unet, checkpoint.vae, checkpoint.text_encoders]


def _vae_dtype(checkpoint: CheckpointArchitecture, dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if checkpoint.upcasts_vae and dtype == torch.float16 else dtype


def _conditioning(checkpoint: CheckpointArchitecture, rows: int, dtype: torch.dtype) -> Conditioning:
    unet = checkpoint.unet
    embeds = torch.empty(rows, _tokens(checkpoint), unet.config["cross_attention_dim"], dtype=dtype)
    if len(checkpoint.text_encoders) == 1:
        return Conditioning(embeds)
    last: Any = checkpoint.text_encoders[-1]
    pooled = torch.empty(rows, last.config.projection_dim, dtype=dtype)
    return Conditioning(embeds, pooled, torch.empty(rows, 6, dtype=dtype))


def _evaluate(checkpoint: CheckpointArchitecture, rows: int, latents: tuple[int, int], dtype: torch.dtype) -> Cost:
    unet, given = checkpoint.unet, _conditioning(checkpoint, rows, dtype)
    samples = torch.empty(rows, unet.config["in_channels"], *latents, dtype=dtype)
    return measure(
        unet,
        lambda: unet(samples, torch.empty(rows), given.prompt_embeds, added_cond_kwargs=given.added, return_dict=False),
    )


def _graph_bytes(
    checkpoints: Sequence[CheckpointArchitecture], activation_bytes_per_cell: float, dtype: torch.dtype
) -> int:
    """Of what is captured at start-up: the native size, with and without reuse of features; see `graphs`.

    All share a pool for the activations of the largest call. Each has buffers for the most rows.

    Args:
        checkpoints: One or both.
        activation_bytes_per_cell: Of a row, the larger of both UNets'.
        dtype: Precision of weights and activations.
    """
    total = 0.0
    for checkpoint in checkpoints:
        config = checkpoint.unet.config
        channels = config["in_channels"] + config["out_channels"] + deep_channels(checkpoint.unet)
        with torch.device("meta"):
            conditioning = _conditioning(checkpoint, 1, dtype)
        row_bytes = channels * config["sample_size"] ** 2 * dtype.itemsize + conditioning.nbytes
        # The deep features are a result of the full evaluation and an input of the shallow one.
        total += 2 * ROWS[-1] * (row_bytes + torch.float32.itemsize)
    cells = max(checkpoint.unet.config["sample_size"] ** 2 for checkpoint in checkpoints)
    return int(total + ROWS[-1] * cells * activation_bytes_per_cell)


def _encode_prompt(checkpoint: CheckpointArchitecture) -> Cost:
    tokens = torch.ones(1, _tokens(checkpoint), dtype=torch.long)
    return measure(checkpoint.text_encoders, lambda: [encoder(tokens) for encoder in checkpoint.text_encoders])


def _encode_canvas(checkpoint: CheckpointArchitecture, size: Size, dtype: torch.dtype) -> Cost:
    vae = checkpoint.vae
    picture = torch.empty(1, 3, size.height, size.width, dtype=_vae_dtype(checkpoint, dtype))
    return measure(vae, lambda: vae.encode(picture, return_dict=False))


def _decode_canvas(checkpoint: CheckpointArchitecture, latents: tuple[int, int], dtype: torch.dtype) -> Cost:
    vae = checkpoint.vae
    cells = torch.empty(1, vae.config["latent_channels"], *latents, dtype=_vae_dtype(checkpoint, dtype))
    return measure(vae, lambda: vae.decode(cells, return_dict=False))


def _segment(sam: Any, dtype: torch.dtype) -> Cost:
    """The image encoder; the decoder is a hundredth of it and not counted."""
    side = sam.image_encoder.img_size
    picture = torch.empty(1, 3, side, side, dtype=dtype)
    return measure(sam.image_encoder, lambda: sam.image_encoder(picture))


def _tokens(checkpoint: CheckpointArchitecture) -> int:
    encoder: Any = checkpoint.text_encoders[0]
    return encoder.config.max_position_embeddings
