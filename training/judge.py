"""A small classifier, trained only on drawn pictures, that names what a generated picture shows."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.dataset import Composites, Words
from training.loop import seeded

SIDE = 64  # pixels a side of what it sees

BACKDROP_PROMPTS: Mapping[str, str] = {
    "brick wall": "brick wall",
    "night lights": "city lights at night",
    "sky": "blue sky with white clouds",
    "sunset": "sunset sky",
    "park": "park with trees in the background",
    "forest": "forest",
    "beach": "beach",
    "mountains": "snowy mountains",
    "living room": "window and couch",
    "kitchen": "kitchen",
    "bookshelf": "books",
    "cafe": "cafe",
}
SURFACE_PROMPTS: Mapping[str, str] = {
    "wood": "a wooden table",
    "grass": "green grass",
    "sand": "sand",
    "snow": "snow",
    "marble": "white marble",
    "stone": "stone",
    "tiles": "a tiled floor",
    "water": "blue water",
    "fabric": "linen fabric",
    "pebbles": "pebbles",
}


def backdrop_word(words: Words) -> str:
    """The scene word of a composite's backdrop: its kind, but for the sky, which has two."""
    kind = words.kinds[0]
    if kind == "sky" and "a sunset" in words.backdrop:
        return "sunset"
    return kind


def surface_word(words: Words) -> str:
    """The word of a composite's surface."""
    return words.kinds[1]


def shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scales a picture of any shape to SIDE x SIDE."""
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX))


class Judge(nn.Module):
    """Four convolutions, mean and maximum over the picture, one linear layer."""

    def __init__(self, classes: Sequence[str]) -> None:
        """An untrained judge of the given words."""
        super().__init__()
        self.classes = tuple(classes)
        widths = (3, 24, 32, 48, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * widths[-1], len(self.classes))

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores of the classes, (N, classes), for pictures (N, 3, SIDE, SIDE) in [-1, 1]."""
        features = self.features(pictures)
        return self.head(torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1))

    @torch.no_grad()
    def name(self, pictures: Sequence[NDArray[np.uint8]]) -> list[str]:
        """The word for each picture, of any shape."""
        self.eval()
        scores = self(_tensor(np.stack([shrink(picture) for picture in pictures])))
        return [self.classes[index] for index in scores.argmax(dim=1).tolist()]

    def save(self, path: Path) -> None:
        """Writes weights and words."""
        save_file(self.state_dict(), path, metadata={"classes": ",".join(self.classes)})

    @classmethod
    def load(cls, path: Path) -> "Judge":
        """Reads what `save` wrote."""
        with safe_open(path, framework="pt") as stored:
            judge = cls(stored.metadata()["classes"].split(","))
            judge.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
        return judge.eval()


def _tensor(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pictures.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def lower_part(picture: NDArray[np.uint8], split: int) -> NDArray[np.uint8]:
    """What lies below the split line."""
    return picture[min(split, picture.shape[0] - SIDE // 4) :]


def train_judge(pictures: Sequence[NDArray[np.uint8]], words: Sequence[str], *, seed: int, epochs: int = 30) -> Judge:
    """Trains a judge.

    Args:
        pictures: Of any shape.
        words: What each shows.
        seed: Start of every random number.
        epochs: Passes over the pictures, each with random mirroring and brightness.
    """
    classes = sorted(set(words))
    with seeded(seed):
        judge = Judge(classes)
    inputs = _tensor(np.stack([shrink(picture) for picture in pictures]))
    labels = torch.tensor([classes.index(word) for word in words])
    rng = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * (len(labels) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    judge.train()
    for _ in range(steps):
        index = torch.randint(len(labels), (64,), generator=rng)
        batch = inputs[index] + 0.15 * torch.randn(64, 3, 1, 1, generator=rng)
        batch = torch.where((torch.rand(64, generator=rng) < 0.5)[:, None, None, None], batch.flip(-1), batch)
        loss = F.cross_entropy(judge(batch), labels[index], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return judge.eval()


def train_both(composites: Composites, *, seed: int) -> tuple[Judge, Judge]:
    """Trains the judges of backdrops and of surfaces on composites."""
    above = [(picture, backdrop_word(words)) for picture, words in zip(composites.empty, composites.words, strict=True)]
    above = [(picture, word) for picture, word in above if word in BACKDROP_PROMPTS]
    rows = zip(composites.pixels, composites.split.tolist(), composites.words, strict=True)
    below = [(lower_part(picture, split), surface_word(words)) for picture, split, words in rows]
    below = [(picture, word) for picture, word in below if word in SURFACE_PROMPTS]
    pairs = (tuple(zip(*pairs, strict=True)) for pairs in (above, below))
    backdrops, surfaces = (train_judge(pictures, words, seed=seed) for pictures, words in pairs)
    return backdrops, surfaces
