"""One diffusion model with what it needs around it: pictures to latents and back, words to embeddings."""

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
    """Two checkpoints may hold the same VAE and text encoder.

    Attributes:
        unet: The model that is evaluated in every step.
        vae: Pictures to latents and back.
        text_encoder: Words to embeddings.
        tokenizer: Of the text encoder.
        noise_schedule: What the solvers are made from: betas, prediction type.
        few_step: The same with a UNet trained for few steps, where the bundle has one.
    """

    unet: UNet2DConditionModel
    vae: Autoencoder
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    noise_schedule: dict[str, Any]
    few_step: Checkpoint | None = None

    @property
    def latent_scale(self) -> int:
        """Pixels a latent cell stands for, along one side (8 for Stable Diffusion)."""
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
        latents = _in_range(self.vae, _encoded, pictures) * self.vae.config["scaling_factor"]
        return latents.to(pictures.dtype)  # what overflowed lay in between; the UNet wants its own precision

    def decode(self, latents: Tensor) -> Tensor:
        """N x 3 x H x W pictures, about [-1, 1]."""
        return _in_range(self.vae, _decoded, latents / self.vae.config["scaling_factor"])

    def embed(self, text: str) -> Tensor:
        """1 x tokens x channels; what is longer than the text encoder's context is cut."""
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


def _in_range(vae: Autoencoder, call: Callable[[Any, Tensor], Tensor], rows: Tensor) -> Tensor:
    """Call the autoencoder, and again in float32 where half precision overflows: a picture of NaN would be black."""
    made = call(vae, rows)
    if made.dtype == torch.float32 or made.isfinite().all() or not rows.isfinite().all():
        return made
    log.warning("autoencoder_overflowed", dtype=str(vae.dtype), retried="float32")
    return call(copy.deepcopy(vae).float(), rows.float())
