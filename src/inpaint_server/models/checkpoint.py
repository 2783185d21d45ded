"""One diffusion model with what it needs around it: pictures to latents and back, words to embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

LATENT_CHANNELS = 4


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
    vae: AutoencoderKL | AutoencoderTiny
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
        encoded = self.vae.encode(pictures, return_dict=False)[0]
        latents = encoded if isinstance(self.vae, AutoencoderTiny) else encoded.mode()
        return latents * self.vae.config["scaling_factor"]

    def decode(self, latents: Tensor) -> Tensor:
        """N x 3 x H x W pictures, about [-1, 1]."""
        return self.vae.decode(latents / self.vae.config["scaling_factor"], return_dict=False)[0]

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
