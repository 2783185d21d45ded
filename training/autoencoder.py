"""Trains the autoencoder: crops in, the same crops out through four latent channels at an eighth of the side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor, nn

from training.loop import Chance, Plan, Training, half_precision, seeded
from training.sizes import Sizes

LATENT_JITTER = 0.05  # standard deviation of the noise the decoder must bear, as a UNet's latents are never exact


def near_identity(sizes: Sizes) -> Any:
    """An autoencoder that starts as a box filter, so that the first steps refine a picture instead of finding one.

    The first three channels carry red, green and blue through both halves, the residual blocks begin near zero,
    and three of the four latents begin as the mean colour of their 8 x 8 pixels, stretched from [0, 1] to [-2, 2].
    """
    model: Any = AutoencoderTiny(**sizes.autoencoder())
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d):
                _start(layer, in_block=".conv." in name, last_in_block=name.endswith(".conv.4"))
        to_latents: Any = [layer for layer in model.encoder.modules() if isinstance(layer, nn.Conv2d)][-1]
        to_latents.weight[:3] *= 4
        to_latents.bias[:3] = -2
        to_latents.weight[3:] *= 0.5
        convolutions: list[Any] = [layer for layer in model.decoder.modules() if isinstance(layer, nn.Conv2d)]
        convolutions[0].weight[:3] *= 0.25
        convolutions[0].bias[:3] = 0.5
        convolutions[-1].weight[:, 3:] *= 0.05
    return model


def _start(layer: nn.Conv2d, *, in_block: bool, last_in_block: bool) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        layer.bias.zero_()
    if last_in_block:
        layer.weight *= 0.05
        layer.weight[:3] = 0
    if in_block:
        return
    passed = min(3, layer.in_channels, layer.out_channels)
    layer.weight[:passed] = 0
    for channel in range(passed):
        if layer.stride[0] == 2:
            layer.weight[channel, channel] = 1 / 9
        else:
            layer.weight[channel, channel, 1, 1] = 1


def _texture(picture: Tensor) -> list[Tensor]:
    """Local strength of horizontal, vertical and diagonal edges at three scales, each (N x 9, 1, h, w)."""
    kernels = picture.new_tensor(
        [[[0, 0, 0], [-1, 1, 0], [0, 0, 0]], [[0, -1, 0], [0, 1, 0], [0, 0, 0]], [[-1, 0, 0], [0, 1, 0], [0, 0, 0]]]
    )[:, None]
    energies = []
    for _ in range(3):
        edges = F.conv2d(picture.reshape(-1, 1, *picture.shape[2:]), kernels, padding=1)
        energies.append((F.avg_pool2d(edges**2, 8, 4) + 1e-4).sqrt())
        picture = F.avg_pool2d(picture, 2)
    return energies


def reconstruction_losses(
    decoded: Tensor, target: Tensor, latents: Tensor, texture_weight: float
) -> Mapping[str, Tensor]:
    """Colour, mean colour, texture and the spread of the latents.

    Args:
        decoded: Decoded crops, (N, 3, h, w) in [-1, 1].
        target: The crops themselves.
        latents: Their latents, (N, 4, h / 8, w / 8).
        texture_weight: How much equally strong grain counts beside equal pixels.
    """
    pixel = (decoded - target).abs().mean()
    mean_colour = (F.avg_pool2d(decoded, 4) - F.avg_pool2d(target, 4)).abs().mean()
    pairs = zip(_texture(decoded), _texture(target), strict=True)
    texture = torch.stack([(ours - theirs).abs().mean() for ours, theirs in pairs]).sum()
    spread = (latents.mean(dim=(0, 2, 3)) ** 2 + (latents.std(dim=(0, 2, 3)) - 1) ** 2).mean()
    loss = pixel + mean_colour + texture_weight * texture + 0.01 * spread
    return {"loss": loss, "pixel": pixel, "mean colour": mean_colour, "texture": texture, "spread": spread}


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """Turns (N, H, W, 3) uint8 into (N, 3, H, W) float32 in [-1, 1]."""
    tensor = torch.from_numpy(pictures.astype(np.float32) / 127.5 - 1)
    return tensor.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def draw_crops(pictures: NDArray[np.uint8], rng: np.random.Generator, count: int, side: int) -> NDArray[np.uint8]:
    """Random square crops, half of them mirrored, a third of them of twice the side and shrunk.

    Args:
        pictures: (N, H, W, 3) uint8.
        rng: Draws picture, place, size and mirroring.
        count: Number of crops.
        side: Their side in pixels.
    """
    crops = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        picture = pictures[rng.integers(len(pictures))]
        factor = 2 if rng.random() < 0.3 and min(picture.shape[:2]) >= 2 * side else 1
        top = rng.integers(picture.shape[0] - factor * side + 1)
        left = rng.integers(picture.shape[1] - factor * side + 1)
        crop = picture[top : top + factor * side, left : left + factor * side]
        if factor == 2:
            crop = crop.reshape(side, 2, side, 2, 3).mean((1, 3))
        crops[index] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return crops


def train_autoencoder(
    pictures: NDArray[np.uint8], sizes: Sizes, plan: Plan, folder: Path, *, crop: int = 96
) -> AutoencoderTiny:
    """Trains and scales an autoencoder.

    Args:
        pictures: (N, H, W, 3) uint8.
        sizes: Width and depth.
        plan: How long and how fast.
        folder: For checkpoint and curve.
        crop: Side in pixels of what is trained on.
    """
    with seeded(plan.seed):
        model = near_identity(sizes).to(memory_format=torch.channels_last)

    def losses(step: int, chance: Chance) -> Mapping[str, Tensor]:
        target = to_tensor(draw_crops(pictures, chance.numpy, plan.batch, crop))
        with half_precision():
            latents = model.encode(target, return_dict=False)[0]
            jitter = torch.randn(latents.shape, generator=chance.torch) * LATENT_JITTER
            decoded = model.decode(latents + jitter, return_dict=False)[0]
        return reconstruction_losses(decoded.float(), target, latents.float(), min(0.4, step / plan.steps))

    training = Training(dict(model.named_parameters()), plan, folder)
    training.run(losses)
    return with_scale(model.eval(), pictures[:64])


@torch.no_grad()
def with_scale(model: AutoencoderTiny, pictures: NDArray[np.uint8]) -> AutoencoderTiny:
    """Sets the factor that brings latents to unit variance, as measured on pictures."""
    latents = torch.cat(
        [model.encode(to_tensor(pictures[at : at + 8]), return_dict=False)[0] for at in range(0, len(pictures), 8)]
    )
    model.register_to_config(scaling_factor=float(1 / latents.std()))
    return model
