"""Trains the inpainting UNet and the text encoder together; the whole canvas masked is text-to-image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.random import Generator
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from training.assemble import noise_schedule
from training.captions import nothing, prompt
from training.dataset import Words
from training.latents import VARIANTS, Latents
from training.loop import Chance, Plan, Training, half_precision
from training.regions import REGIONS, WITHOUT_PRODUCT

WHOLE_SHARE = 0.3  # of a batch is painted on an empty canvas: text-to-image
PLACE_ALONE_SHARE = 0.4  # of those are named by what is above alone
SMOOTH_SHARE = 0.25  # of each larger scale's noise beside the white one
UNCONDITIONAL_SHARE = 0.1  # of a batch is painted without words, for classifier-free guidance


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The UNet's inputs, and the latents it is to predict.

    Attributes:
        target: (N, 4, h, w), scaled latents.
        mask: (N, 1, h, w), 1 where it is repainted.
        masked: (N, 4, h, w), scaled latents of the picture that is grey where it is repainted.
        captions: N prompts.
    """

    target: Tensor
    mask: Tensor
    masked: Tensor
    captions: list[str]


def draw_batch(latents: Latents, grey: Tensor, chance: Chance, count: int) -> Batch:
    """Draws composites with one of their masks each, some of them masked wholly, half of them mirrored.

    Args:
        latents: What is drawn from.
        grey: Latents of a canvas that is grey all over, (1, 4, h, w), scaled.
        chance: The step's random numbers.
        count: Pictures in the batch.
    """
    rng, names = chance.numpy, list(REGIONS)
    index = torch.from_numpy(rng.integers(len(latents), size=count))
    variant = torch.from_numpy(rng.integers(VARIANTS, size=count))
    whole = torch.from_numpy(rng.random(count) < WHOLE_SHARE)
    regions = [names[number] for number in latents.region[index, variant].tolist()]
    bare = whole | torch.tensor([region in WITHOUT_PRODUCT for region in regions])
    everywhere = whole[:, None, None, None]
    target = torch.where(bare[:, None, None, None], latents.empty[index], latents.target[index]).float()
    mask = torch.where(everywhere, 1.0, latents.mask[index, variant].float())
    masked = torch.where(everywhere, grey, latents.masked[index, variant].float())
    mirrored = torch.from_numpy(rng.random(count) < 0.5)[:, None, None, None]
    target, mask, masked = (torch.where(mirrored, value.flip(-1), value) for value in (target, mask, masked))
    captions = [
        _words(rng, latents.words[item], "whole" if full else region)
        for item, full, region in zip(index.tolist(), whole.tolist(), regions, strict=True)
    ]
    return Batch(target=target, mask=mask, masked=masked, captions=captions)


def _words(rng: Generator, words: Words, region: str) -> str:
    """A prompt, or none; for a whole canvas sometimes of the backdrop alone, as people name a place."""
    if rng.random() < UNCONDITIONAL_SHARE:
        return nothing(rng)
    if region == "whole" and rng.random() < PLACE_ALONE_SHARE:
        return prompt(rng, words, "upper")
    return prompt(rng, words, region)


def tokens(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token numbers of prompts, padded to the tokenizer's limit, (N, TOKEN_LIMIT) int64."""
    limit = tokenizer.model_max_length
    return tokenizer(
        list(captions), padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
    ).input_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionModels:
    """The models that are trained here, and their tokenizer."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Everything that is trained, by name."""
        parts = {"unet": self.unet, "text": self.text_encoder}
        return {f"{part}.{name}": value for part, model in parts.items() for name, value in model.named_parameters()}


def noise_times(count: int, generator: torch.Generator) -> Tensor:
    """Where in the noise schedule a batch trains, (count,) in [0, 1): more in the middle, where scenes take shape.

    Half are logit-normal (Esser et al. 2024, section 3.1), the rest uniform: at the noisy end the colours are decided,
    and that those of a hole come from around it is learnt nowhere else.
    """
    even = (torch.rand(count, generator=generator) + torch.arange(count)) / count  # one in each nth
    middle = torch.sigmoid(torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)))
    times = torch.where(torch.rand(count, generator=generator) < 0.5, middle, even)
    return times.clamp(max=1 - 1e-6)


def uneven_noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """White noise and weaker, smooth noise of two larger scales, (N, 4, h, w), of variance 1 on the average.

    Stable Diffusion's schedule ends with a trace of the picture left (Lin et al., Common Diffusion Noise Schedules and
    Sample Steps are Flawed, 2024), whose mean over a hole reveals the hole's colour: a model trained on white noise
    reads it there, and finds nothing when it starts from pure noise. Smooth noise hides the trace, so the colours must
    come from around the hole.
    """
    noise = torch.randn(shape, generator=generator)
    for cells in (8, 4):
        sides = [max(1, side // cells) for side in shape[2:]]
        coarse = torch.randn(*shape[:2], *sides, generator=generator)
        noise += SMOOTH_SHARE * F.interpolate(coarse, size=shape[2:], mode="bicubic")
    return noise / (1 + 2 * SMOOTH_SHARE**2) ** 0.5


def velocity_loss(
    models: DiffusionModels, batch: Batch, schedule: DDPMScheduler, chance: Chance
) -> Mapping[str, Tensor]:
    """Error of the predicted velocity, v = sqrt(a) noise - sqrt(1 - a) target (Salimans and Ho 2022, section 4)."""
    count = len(batch.target)
    steps = (noise_times(count, chance.torch) * schedule.config["num_train_timesteps"]).long()
    noise = uneven_noise(batch.target.shape, chance.torch)
    noisy = schedule.add_noise(batch.target, noise, steps)
    velocity = schedule.get_velocity(batch.target, noise, steps)
    with half_precision():
        embeddings = models.text_encoder(tokens(models.tokenizer, batch.captions))[0]
        inputs = torch.cat([noisy, batch.mask, batch.masked], dim=1).contiguous(memory_format=torch.channels_last)
        predicted = models.unet(inputs, steps, embeddings).sample
    error = ((predicted.float() - velocity) ** 2).mean(dim=1, keepdim=True)
    repainted = batch.mask / batch.mask.mean(dim=(1, 2, 3), keepdim=True).clamp(min=0.1)
    return {"loss": (error * (0.25 + 0.75 * repainted)).mean(), "plain": error.mean()}


@torch.no_grad()
def grey_canvas(autoencoder: AutoencoderTiny, shape: torch.Size) -> Tensor:
    """Latents of a grey canvas with the size of a latent shape (..., h, w), edges included, (1, 4, h, w)."""
    canvas = torch.zeros(1, 3, 8 * shape[-2], 8 * shape[-1])
    return autoencoder.encode(canvas, return_dict=False)[0] * autoencoder.config["scaling_factor"]


def train_diffusion(
    models: DiffusionModels, sets: Sequence[Latents], autoencoder: AutoencoderTiny, plan: Plan, folder: Path
) -> None:
    """Trains UNet and text encoder in place.

    Args:
        models: Trained in place.
        sets: Encoded composites; each set has a shape of its own and is drawn as often as it is large.
        autoencoder: Trained; encodes the grey canvas.
        plan: How long and how fast.
        folder: For checkpoint and curve.
    """
    schedule: Any = DDPMScheduler.from_config(noise_schedule().config)
    canvases = [grey_canvas(autoencoder, latents.target.shape) for latents in sets]
    shares = torch.tensor([len(latents) for latents in sets], dtype=torch.float64)
    unet: Any = models.unet
    unet.to(memory_format=torch.channels_last).train()
    unet.set_attn_processor(AttnProcessor())  # on a CPU faster than the fused kernel, whose backward pass is slow
    models.text_encoder.train()

    def losses(_step: int, chance: Chance) -> Mapping[str, Tensor]:
        chosen = int(chance.numpy.choice(len(sets), p=(shares / shares.sum()).numpy()))
        batch = draw_batch(sets[chosen], canvases[chosen], chance, plan.batch)
        return velocity_loss(models, batch, schedule, chance)

    Training(models.parameters(), plan, folder).run(losses)
    models.unet.eval()
    models.text_encoder.eval()
