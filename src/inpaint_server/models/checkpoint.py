"""One diffusion model with its autoencoder and text encoder."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

log = structlog.get_logger(__name__)
LATENT_CHANNELS = 4
MAX_CHUNKS: Final = 4
"""Chunks of a prompt that are used: 300 tokens with CLIP, about 200 words."""

Autoencoder = AutoencoderKL | AutoencoderTiny


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A UNet and what it needs. Two checkpoints may share a VAE and a text encoder.

    Attributes:
        unet: Predicts noise or velocity, once in every step.
        vae: Pictures to latents and back.
        text_encoder: Prompts to embeddings.
        tokenizer: Of the text encoder.
        noise_schedule: The scheduler's configuration: betas, prediction type.
        few_step: The same with a UNet trained for few steps; None where the bundle has none.
    """

    unet: UNet2DConditionModel
    vae: Autoencoder
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    noise_schedule: dict[str, Any]
    few_step: Checkpoint | None = None

    @property
    def latent_scale(self) -> int:
        """Side of a latent cell in pixels (8 for Stable Diffusion)."""
        return (
            2 ** (len(self.vae.config["block_out_channels"]) - 1)
            if isinstance(self.vae, AutoencoderKL)
            else (2 ** (len(self.vae.config["encoder_block_out_channels"]) - 1))
        )

    def noise(self, height: int, width: int, generator: torch.Generator) -> Tensor:
        """1 x 4 x h x w float32 latents of a picture of height x width pixels, on the CPU.

        From a generator there and in that precision, so that a seed gives the same noise on every device.
        """
        shape = (1, LATENT_CHANNELS, height // self.latent_scale, width // self.latent_scale)
        return torch.randn(shape, generator=generator)

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of N x 3 x H x W pictures in [-1, 1]; of a KL autoencoder the mode, so that it draws no noise."""
        latents = _without_overflow(self.vae, _encoded, pictures) * self.vae.config["scaling_factor"]
        return latents.to(pictures.dtype)  # float32 after an overflow; the UNet expects its own precision

    def decode(self, latents: Tensor) -> Tensor:
        """N x 3 x H x W pictures, about [-1, 1]."""
        scaled = (latents / self.vae.config["scaling_factor"]).to(self.vae.dtype)
        return _without_overflow(self.vae, _decoded, scaled)

    @property
    def chunk_length(self) -> int:
        """Tokens of a prompt that the text encoder takes at a time, its start and end tokens aside (75 for CLIP)."""
        positions = self.text_encoder.config.max_position_embeddings
        return min(self.tokenizer.model_max_length, positions) - 2

    def chunks(self, text: str) -> int:
        """How many chunks a prompt fills, from 1 to `MAX_CHUNKS`."""
        return min(MAX_CHUNKS, max(1, math.ceil(len(self._tokens(text)) / self.chunk_length)))

    def embed(self, text: str, chunks: int) -> Tensor:
        """1 x tokens x channels: the embeddings of so many chunks, each encoded on its own, one after the other.

        As the common front ends do it: each chunk has its start and end tokens; what is not filled is padded.
        """
        tokenizer: Any = self.tokenizer
        tokens, length = self._tokens(text), self.chunk_length
        rows: list[list[int]] = []
        for first in range(0, chunks * length, length):
            row = [tokenizer.bos_token_id, *tokens[first : first + length], tokenizer.eos_token_id]
            rows.append(row + [tokenizer.pad_token_id] * (length + 2 - len(row)))
        embeds = self.text_encoder(torch.tensor(rows, device=self.text_encoder.device))[0]
        return embeds.reshape(1, -1, embeds.shape[-1])

    def first_unused_word(self, text: str) -> str | None:
        """The word of a prompt from which on it is not used, since it is longer than `MAX_CHUNKS`; None: all is used.

        Any thread may call it.
        """
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        used = MAX_CHUNKS * self.chunk_length
        if len(offsets) <= used:
            return None
        begin = offsets[used][0]
        return next(word.group() for word in re.finditer(r"\S+", text) if word.end() > begin)

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids


def _encoded(vae: Any, pictures: Tensor) -> Tensor:
    encoded = vae.encode(pictures, return_dict=False)[0]
    return encoded if isinstance(vae, AutoencoderTiny) else encoded.mode()


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    return vae.decode(latents, return_dict=False)[0]


def _without_overflow(vae: Autoencoder, call: Callable[[Any, Tensor], Tensor], rows: Tensor) -> Tensor:
    """Call the autoencoder, and again in float32 where half precision overflows: NaN would become black."""
    result = call(vae, rows)
    if result.dtype == torch.float32 or result.isfinite().all() or not rows.isfinite().all():
        return result
    log.warning("autoencoder_overflow", dtype=str(vae.dtype), retried_in="float32")
    return call(copy.deepcopy(vae).float(), rows.float())
