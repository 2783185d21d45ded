"""What a training run produces: how many pictures, how long each model trains, and its size."""

from dataclasses import dataclass, replace
from typing import Self

from training.dataset import Recipe
from training.loop import Plan
from training.sizes import Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A set of composites: how they are drawn, how many, and what they are called on disk."""

    name: str
    recipe: Recipe
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Everything that determines a bundle.

    Attributes:
        version: Written into the bundle's manifest.
        sizes: Of the models.
        scenes: Composites for autoencoder and diffusion, one set a canvas shape; the first set is square.
        photos: Composites with larger products, for the segmenter and the autoencoder.
        held_out: Composites nothing is trained on.
        crop: Side in pixels of the autoencoder's crops.
        autoencoder: Its training.
        diffusion_half: Training of UNet and text encoder on canvases of half the size, where words are learnt cheaply.
        diffusion: The same at full size, going on from there.
        segmenter_half: Training of the segmenter at half its photo size.
        segmenter: The same at full size, going on from there.
        guidance_scale: The guidance that suits the diffusion models best.
    """

    version: str
    sizes: Sizes
    scenes: tuple[Drawing, ...]
    photos: Drawing
    held_out: Drawing
    crop: int
    autoencoder: Plan
    diffusion_half: Plan
    diffusion: Plan
    segmenter_half: Plan
    segmenter: Plan
    guidance_scale: float

    @classmethod
    def demo(cls) -> Self:
        """The bundle that ships."""
        large = (0.5, 0.97)
        return cls(
            version="1",
            sizes=Sizes.demo(),
            scenes=(
                Drawing(name="scenes", recipe=Recipe(seed=10, shape=(256, 256)), count=3500),
                Drawing(name="wide", recipe=Recipe(seed=12, shape=(256, 384)), count=250),
                Drawing(name="tall", recipe=Recipe(seed=13, shape=(384, 256)), count=250),
            ),
            photos=Drawing(name="photos", recipe=Recipe(seed=11, shape=(256, 256), size=large), count=1500),
            held_out=Drawing(name="held-out", recipe=Recipe(seed=99, shape=(256, 256), size=(0.45, 0.95)), count=250),
            crop=96,
            autoencoder=Plan(steps=3200, rate=6e-4, warm_up=100, batch=8, seed=1),
            diffusion_half=Plan(steps=1400, rate=1.5e-3, warm_up=150, batch=32, seed=5, save_every=200),
            diffusion=Plan(steps=2800, rate=1e-3, warm_up=100, batch=8, seed=6, save_every=200),
            segmenter_half=Plan(steps=4400, rate=1e-3, warm_up=150, batch=16, seed=3, save_every=200),
            segmenter=Plan(steps=620, rate=4e-4, warm_up=20, batch=8, seed=4, save_every=50),
            guidance_scale=4.0,
        )

    @classmethod
    def tiny(cls) -> Self:
        """The same in a minute: it shows that every command works, not what the models can learn."""
        demo = cls.demo()
        shape = (64, 64)
        brief = Plan(steps=20, rate=1e-3, warm_up=5, batch=4, seed=1, save_every=20)
        return replace(
            demo,
            version="tiny",
            sizes=Sizes.tiny(),
            scenes=(
                Drawing(name="scenes", recipe=Recipe(seed=10, shape=shape), count=48),
                Drawing(name="wide", recipe=Recipe(seed=12, shape=(64, 96)), count=16),
            ),
            photos=Drawing(name="photos", recipe=Recipe(seed=11, shape=shape, size=(0.5, 0.97)), count=32),
            held_out=Drawing(name="held-out", recipe=Recipe(seed=99, shape=shape), count=8),
            crop=32,
            autoencoder=brief,
            diffusion_half=brief,
            diffusion=brief,
            segmenter_half=brief,
            segmenter=brief,
        )
