"""Composites as the diffusion model sees them: encoded once, kept on disk, drawn in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from training.autoencoder import to_tensor
from training.dataset import Composites, Words
from training.loop import half_precision
from training.regions import REGIONS, WITHOUT_PRODUCT, paint_mask
from training.sizes import LATENT_FACTOR

VARIANTS = 3  # masks drawn for each composite
CHUNK = 16  # pictures encoded at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Latents:
    """Encoded composites of one shape; h and w are an eighth of the canvas.

    Attributes:
        target: With the product, (N, 4, h, w) float16, scaled.
        empty: Without it, (N, 4, h, w) float16, scaled.
        masked: Of the picture, with or without the product as its region is, grey where it is repainted,
            (N, VARIANTS, 4, h, w) float16, scaled.
        mask: 1 where it is repainted, (N, VARIANTS, 1, h, w) float16.
        region: Index into REGIONS, (N, VARIANTS) int64.
        words: One entry a composite.
    """

    target: Tensor
    empty: Tensor
    masked: Tensor
    mask: Tensor
    region: Tensor
    words: tuple[Words, ...]

    @classmethod
    def encode(cls, composites: Composites, autoencoder: AutoencoderTiny, *, seed: int, cache: Path) -> Self:
        """Encodes composites, or reads what was encoded before.

        Args:
            composites: Pictures, masks and words.
            autoencoder: Trained.
            seed: Start of the masks' random numbers.
            cache: File the latents are kept in.
        """
        if not cache.exists():
            pieces = [
                _encode_chunk(composites, range(start, min(start + CHUNK, len(composites.mask))), autoencoder, seed)
                for start in tqdm(range(0, len(composites.mask), CHUNK), desc=f"encode {cache.stem}", mininterval=10)
            ]
            cache.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: torch.cat([piece[name] for piece in pieces]).contiguous() for name in pieces[0]}, cache)
        return cls(**load_file(cache), words=composites.words)

    def __len__(self) -> int:
        """Number of composites."""
        return len(self.target)


@torch.no_grad()
def _encode_chunk(
    composites: Composites, indices: Sequence[int], autoencoder: AutoencoderTiny, seed: int
) -> dict[str, Tensor]:
    """Encodes some composites, each with VARIANTS masks."""
    names, shares = list(REGIONS), np.array(list(REGIONS.values()))
    masks, regions, behind = [], [], []
    for index in indices:
        rng = np.random.default_rng([seed, index])
        chosen = rng.choice(len(names), VARIANTS, replace=False, p=shares)
        regions.append(chosen)
        product, split = composites.mask[index], int(composites.split[index])
        bare = [names[region] in WITHOUT_PRODUCT for region in chosen]
        behind.append([composites.empty[index] if one else composites.pixels[index] for one in bare])
        masks.append(np.stack([paint_mask(rng, names[region], product, split) for region in chosen]))
    part = slice(indices[0], indices[-1] + 1)
    painted = torch.from_numpy(np.stack(masks)).float()  # (n, VARIANTS, H, W)
    pixels = torch.stack([to_tensor(np.stack(pictures)) for pictures in behind])
    kept = pixels * (1 - painted[:, :, None])  # grey is 0
    encoded = _encode(autoencoder, kept.flatten(0, 1)).unflatten(0, (-1, VARIANTS))
    return {
        "target": _encode(autoencoder, to_tensor(composites.pixels[part])),
        "empty": _encode(autoencoder, to_tensor(composites.empty[part])),
        "masked": encoded,
        "mask": F.interpolate(painted, scale_factor=1 / LATENT_FACTOR, mode="nearest")[:, :, None].half(),
        "region": torch.from_numpy(np.stack(regions)),
    }


def _encode(autoencoder: AutoencoderTiny, pictures: Tensor) -> Tensor:
    """Scaled latents of pictures, a few at a time: large temporary tensors cost more than they save."""
    with half_precision():
        parts = (part.contiguous(memory_format=torch.channels_last) for part in pictures.split(4))
        latents = torch.cat([autoencoder.encode(part, return_dict=False)[0].float() for part in parts])
    return (latents * autoencoder.config["scaling_factor"]).half()
