"""One diffusion model with its autoencoder and text encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

log = structlog.get_logger(__name__)
LATENT_CHANNELS = 4
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
        """1 x 4 x h x w latents of a picture of height x width pixels, from a generator on the CPU.

        In float32 there, so that a seed gives the same noise on every device and in every precision.
        """
        shape = (1, LATENT_CHANNELS, height // self.latent_scale, width // self.latent_scale)
        return torch.randn(shape, generator=generator).to(self.unet.device, self.unet.dtype)

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of N x 3 x H x W pictures in [-1, 1]; of a KL autoencoder the mode, so that it draws no noise."""
        latents = _without_overflow(self.vae, _encoded, pictures) * self.vae.config["scaling_factor"]
        return latents.to(pictures.dtype)  # float32 after an overflow; the UNet expects its own precision

    def decode(self, latents: Tensor) -> Tensor:
        """N x 3 x H x W pictures, about [-1, 1]."""
        return _without_overflow(self.vae, _decoded, latents / self.vae.config["scaling_factor"])

    def embed(self, text: str) -> Tensor:
        """1 x tokens x channels; a prompt longer than the text encoder's context is truncated."""
        tokens = self.tokenizer(
            text,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0]


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
