"""Composites on disk: drawn once, in parallel, each from its own seed, and kept in shards."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.composites import Composite, make_composite
from training.paint import Shape

SHARD = 250  # composites a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a set of composites is drawn.

    Attributes:
        seed: Composite i is drawn by the generator of [seed, i].
        shape: Height and width in pixels.
        size: Range of the product's longer side over the canvas's shorter one.
    """

    seed: int
    shape: Shape
    size: tuple[float, float] = (0.35, 0.75)

    def draw(self, index: int) -> Composite:
        """Draws one composite."""
        return make_composite(np.random.default_rng([self.seed, index]), self.shape, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the parts of one composite are called; either may have no name."""

    backdrop: tuple[str, ...]
    surface: tuple[str, ...]
    kinds: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composites:
    """Many composites of one shape; see `composites.Composite` for the fields.

    Attributes:
        pixels: (N, H, W, 3) uint8.
        empty: (N, H, W, 3) uint8.
        mask: (N, H, W) uint8.
        split: (N,) int64.
        words: One entry a composite.
    """

    pixels: NDArray[np.uint8]
    empty: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    split: NDArray[np.int64]
    words: tuple[Words, ...]

    @classmethod
    def of(cls, composites: Sequence[Composite]) -> Self:
        """Stacks composites of one shape."""
        return cls(
            pixels=np.stack([composite.pixels for composite in composites]),
            empty=np.stack([composite.empty for composite in composites]),
            mask=np.stack([composite.mask for composite in composites]),
            split=np.array([composite.split for composite in composites], np.int64),
            words=tuple(
                Words(backdrop=composite.backdrop, surface=composite.surface, kinds=composite.kinds)
                for composite in composites
            ),
        )

    @classmethod
    def joined(cls, sets: Sequence[Self]) -> Self:
        """Several sets of one shape as one."""
        names = ("pixels", "empty", "mask", "split")
        arrays = {name: np.concatenate([getattr(one, name) for one in sets]) for name in names}
        return cls(**arrays, words=tuple(entry for one in sets for entry in one.words))

    def first(self, count: int) -> Self:
        """The first composites alone."""
        fields = {name: getattr(self, name)[:count] for name in ("pixels", "empty", "mask", "split", "words")}
        return type(self)(**fields)

    def halved(self) -> Self:
        """The same composites at half their sides."""
        pixels, empty = (_mean_of_four(pictures) for pictures in (self.pixels, self.empty))
        mask = np.where(_mean_of_four(self.mask[..., None])[..., 0] >= 128, 255, 0).astype(np.uint8)
        return type(self)(pixels=pixels, empty=empty, mask=mask, split=self.split // 2, words=self.words)

    def save(self, path: Path) -> None:
        """Writes one shard, whole or not at all."""
        draft = path.with_suffix(".draft.npz")
        words = json.dumps([asdict(entry) for entry in self.words])
        np.savez(draft, pixels=self.pixels, empty=self.empty, mask=self.mask, split=self.split, words=np.array(words))
        draft.replace(path)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Self:
        """Reads shards and joins them."""
        shards = [np.load(path, allow_pickle=False) for path in paths]
        entries = [entry for shard in shards for entry in json.loads(str(shard["words"]))]
        joined = {
            name: np.concatenate([shard[name] for shard in shards]) for name in ("pixels", "empty", "mask", "split")
        }
        words = tuple(Words(**{name: tuple(value) for name, value in entry.items()}) for entry in entries)
        return cls(**joined, words=words)


def _mean_of_four(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrinks (N, H, W, C) to half its sides."""
    count, height, width, channels = pictures.shape
    answer = np.empty((count, height // 2, width // 2, channels), np.uint8)
    for picture, small in zip(pictures, answer, strict=True):
        small[:] = np.round(picture.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3)))
    return answer


def render(recipe: Recipe, count: int, folder: Path, *, workers: int = 2) -> Composites:
    """Draws composites that are not on disk yet, and reads all of them.

    Args:
        recipe: How they are drawn.
        count: How many; rounded up to whole shards where it is more than one.
        folder: Holds the shards; one folder for one recipe.
        workers: Processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = min(count, SHARD)
    paths = [folder / f"{start:06d}.npz" for start in range(0, count, size)]
    missing = [path for path in paths if not path.exists()]
    task = partial(_render_shard, recipe, size)
    if workers <= 1:
        for path in tqdm(missing, desc=f"draw {folder.name}", mininterval=10):
            task(path)
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(tqdm(pool.map(task, missing), total=len(missing), desc=f"draw {folder.name}", mininterval=10))
    return Composites.load(paths)


def _render_shard(recipe: Recipe, size: int, path: Path) -> None:
    start = int(path.stem)
    Composites.of([recipe.draw(index) for index in range(start, start + size)]).save(path)
