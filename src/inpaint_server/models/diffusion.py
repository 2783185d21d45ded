"""Stable Diffusion, step by step, over batches of pictures that need not start or end together.

Text-to-image and inpainting (Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022)
share one loop: a pass is begun, advanced any number of times beside whichever others, and finished. Each carries its
own solver, time step, guidance, conditioning and noise, so a picture does not depend on what it was batched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from inpaint_server.cache import Cache
from inpaint_server.models.device import Device, memory_errors_as_ours
from inpaint_server.models.schedulers import make_scheduler, takes_generator
from inpaint_server.types import Generate, Inpaint, Pass, Pixels, Sampling, Size, frozen_array

LATENT_CHANNELS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """One diffusion model with what it needs around it; two checkpoints may hold the same VAE and text encoder."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL | AutoencoderTiny
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    noise_schedule: dict[str, Any]

    @property
    def latent_scale(self) -> int:
        """Pixels a latent cell stands for, along one side (8 for Stable Diffusion)."""
        return (
            2 ** (len(self.vae.config["block_out_channels"]) - 1)
            if isinstance(self.vae, AutoencoderKL)
            else (2 ** (len(self.vae.config["encoder_block_out_channels"]) - 1))
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Denoising:
    """One pass under way.

    Attributes:
        checkpoint: The model it runs on.
        scheduler: Its own solver.
        latents: 1 x 4 x h x w, what is being denoised.
        context: 1 x 5 x h x w for inpainting (mask, then the masked picture's latents), else None.
        conditioning: 1 or 2 x tokens x channels; with guidance the negative prompt's embedding comes first.
        guidance_scale: Of classifier-free guidance.
        generator: The pass's own noise, on the CPU.
        step: Steps done.
    """

    checkpoint: Checkpoint
    scheduler: Any
    latents: Tensor
    context: Tensor | None
    conditioning: Tensor
    guidance_scale: float
    generator: torch.Generator
    solver_draws_noise: bool
    step: int = field(default=0)

    @property
    def steps(self) -> int:
        """Model evaluations this pass takes."""
        return len(self.scheduler.timesteps)

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[int, torch.Size]:
        """Passes with equal keys can share a model evaluation."""
        return id(self.checkpoint), self.latents.shape

    @property
    def timestep(self) -> Tensor:
        """The current time step, a scalar tensor."""
        return self.scheduler.timesteps[self.step]


class Diffusion:
    """Begins, advances and finishes passes on two checkpoints; of past requests it keeps the prompts' embeddings.

    Args:
        text_to_image: Stable Diffusion.
        inpainting: Stable Diffusion Inpainting.
        device: Where both run.
        cache_bytes: Bytes of prompts' embeddings kept.
    """

    def __init__(self, text_to_image: Checkpoint, inpainting: Checkpoint, device: Device, cache_bytes: int = 0) -> None:
        self.prompts: Cache[tuple[int, str], Tensor] = Cache(cache_bytes, lambda kept: kept.nbytes)
        self._text_to_image = text_to_image
        self._inpainting = inpainting
        self._device = device

    @torch.inference_mode()
    def begin(self, ask: Pass) -> Denoising:
        """Prepare a pass: noise, conditioning, and for inpainting the masked picture's latents.

        Raises:
            OutOfMemory: the canvas does not fit.
        """
        checkpoint = self._text_to_image if isinstance(ask, Generate) else self._inpainting
        size = ask.size if isinstance(ask, Generate) else Size(height=ask.canvas.shape[0], width=ask.canvas.shape[1])
        scheduler = make_scheduler(ask.sampling.scheduler, checkpoint.noise_schedule)
        scheduler.set_timesteps(ask.sampling.steps, device=self._device.torch_device)
        generator = torch.Generator().manual_seed(ask.noise_seed)
        with memory_errors_as_ours():
            return Denoising(
                checkpoint=checkpoint,
                scheduler=scheduler,
                latents=self._noise(checkpoint, size, generator) * scheduler.init_noise_sigma,
                context=self._context(checkpoint, ask) if isinstance(ask, Inpaint) else None,
                conditioning=self._conditioning(checkpoint, ask.prompt, ask.negative_prompt, ask.sampling),
                guidance_scale=ask.sampling.guidance_scale,
                generator=generator,
                solver_draws_noise=takes_generator(scheduler),
            )

    @torch.inference_mode()
    def advance(self, batch: Sequence[Denoising]) -> None:
        """One step of every pass in the batch (all of one `batch_key`), in one model evaluation.

        Nothing has changed if the evaluation runs out of memory: a smaller batch can be tried.

        Raises:
            OutOfMemory: the batch does not fit.
        """
        rows = [len(one.conditioning) for one in batch]
        with memory_errors_as_ours():
            predictions = (
                batch[0]
                .checkpoint.unet(
                    torch.cat(
                        [self._model_input(one).expand(n, -1, -1, -1) for one, n in zip(batch, rows, strict=True)]
                    ),
                    torch.cat([one.timestep.float().expand(n) for one, n in zip(batch, rows, strict=True)]),
                    encoder_hidden_states=torch.cat([one.conditioning for one in batch]),
                    return_dict=False,
                )[0]
                .split(rows)
            )
        for one, prediction in zip(batch, predictions, strict=True):
            noise = {"generator": one.generator} if one.solver_draws_noise else {}
            guided = _guided(prediction, one.guidance_scale)
            one.latents = one.scheduler.step(guided, one.timestep, one.latents, return_dict=False, **noise)[0]
            one.step += 1

    @torch.inference_mode()
    def finish(self, one: Denoising) -> Pixels:
        """Decode a pass that is done.

        Raises:
            OutOfMemory: the canvas does not fit.
        """
        vae = one.checkpoint.vae
        with memory_errors_as_ours():
            decoded = vae.decode(one.latents / vae.config["scaling_factor"], return_dict=False)[0][0]
        unit = (decoded.float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return Pixels(frozen_array(np.rint(unit * 255).astype(np.uint8)))

    def _noise(self, checkpoint: Checkpoint, size: Size, generator: torch.Generator) -> Tensor:
        """Drawn on the CPU in float32, so that a seed gives the same noise on every device and in every precision."""
        scale = checkpoint.latent_scale
        shape = (1, LATENT_CHANNELS, size.height // scale, size.width // scale)
        return torch.randn(shape, generator=generator).to(self._device.torch_device, self._device.dtype)

    def _model_input(self, one: Denoising) -> Tensor:
        scaled = one.scheduler.scale_model_input(one.latents, one.timestep)
        return scaled if one.context is None else torch.cat([scaled, one.context], dim=1)

    def _context(self, checkpoint: Checkpoint, ask: Inpaint) -> Tensor:
        """The five extra channels of the inpainting model: the mask at latent size, the masked picture's latents."""
        picture = torch.from_numpy(ask.canvas.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        mask = torch.from_numpy((ask.mask > 127).astype(np.float32))[None, None]
        known = (picture * (1 - mask)).to(self._device.torch_device, self._device.dtype)
        latents = _encode(checkpoint.vae, known) * checkpoint.vae.config["scaling_factor"]
        small = functional.interpolate(mask, size=latents.shape[-2:]).to(latents)
        return torch.cat([small, latents], dim=1)

    def _conditioning(self, checkpoint: Checkpoint, prompt: str, negative_prompt: str, sampling: Sampling) -> Tensor:
        """1 x tokens x channels, or 2 with the negative prompt first where guidance needs it."""
        texts = [negative_prompt, prompt] if sampling.guidance_scale > 1 else [prompt]
        key = id(checkpoint.text_encoder)
        return torch.cat(
            [self.prompts.get_or_make((key, text), lambda text=text: self._embed(checkpoint, text)) for text in texts]
        )

    def _embed(self, checkpoint: Checkpoint, text: str) -> Tensor:
        """1 x tokens x channels; what is longer than the text encoder's context is cut."""
        tokens = checkpoint.tokenizer(
            text,
            padding="max_length",
            max_length=checkpoint.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return checkpoint.text_encoder(tokens.input_ids.to(self._device.torch_device))[0]


def _guided(prediction: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, 2022, eq. 6, in the form e_u + s (e_c - e_u))."""
    if len(prediction) == 1:
        return prediction
    unconditional, conditional = prediction.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def _encode(vae: AutoencoderKL | AutoencoderTiny, pictures: Tensor) -> Tensor:
    """Unscaled latents; of a KL autoencoder the distribution's mode, so that encoding draws no noise."""
    if isinstance(vae, AutoencoderTiny):
        return vae.encode(pictures, return_dict=False)[0]
    return vae.encode(pictures, return_dict=False)[0].mode()
