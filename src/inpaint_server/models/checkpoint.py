"""One diffusion model with its autoencoder and text encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor

from inpaint_server.models.prompts import PromptEncoder

log = structlog.get_logger(__name__)
LATENT_CHANNELS = 4

Autoencoder = AutoencoderKL | AutoencoderTiny


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A UNet and what it needs. Two checkpoints may share a VAE and text encoders.

    Attributes:
        unet: Predicts noise or velocity, once in every step.
        vae: Pictures to latents and back.
        prompts: Prompts to what the UNet is conditioned on.
        noise_schedule: The scheduler's configuration: betas, prediction type.
        few_step: The same with a UNet trained for few steps; None where the bundle has none.
    """

    unet: UNet2DConditionModel
    vae: Autoencoder
    prompts: PromptEncoder
    noise_schedule: dict[str, Any]
    few_step: Checkpoint | None = None

    @property
    def sees_mask(self) -> bool:
        """Whether the UNet was trained for inpainting: mask and masked picture are five more channels of its input."""
        return self.unet.config["in_channels"] > LATENT_CHANNELS

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
        latents = self._encode(pictures)
        if self.vae.dtype != torch.float32 and not latents.isfinite().all() and pictures.isfinite().all():
            self.upcast_autoencoder()
            latents = self._encode(pictures)
        scaled = latents * self.vae.config["scaling_factor"]
        return scaled.to(pictures.dtype)  # the UNet expects its own precision

    def decode(self, latents: Tensor) -> Tensor:
        """N x 3 x H x W pictures, about [-1, 1], in the autoencoder's precision; not finite where that overflows."""
        scaled = latents / self.vae.config["scaling_factor"]
        return self.vae.decode(scaled.to(self.vae.dtype), return_dict=False)[0]

    def upcast_autoencoder(self) -> None:
        """Compute with the autoencoder in float32 from now on, in every checkpoint that shares it.

        For after an overflow of half precision, where NaN would become black; what overflowed once will do so again.
        """
        vae: Any = self.vae
        precision = vae.dtype
        if precision == torch.float32:
            return
        log.warning("autoencoder_overflow", dtype=str(precision), from_now_on="float32")
        try:
            vae.float()
        except torch.OutOfMemoryError:
            vae.to(precision)
            raise

    def _encode(self, pictures: Tensor) -> Tensor:
        vae: Any = self.vae
        encoded = vae.encode(pictures.to(vae.dtype), return_dict=False)[0]
        return encoded if isinstance(vae, AutoencoderTiny) else encoded.mode()
