"""Whole scenes: a surface before a backdrop, seen through one lens, and the words for each part."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from training import backdrops, indoors, outdoors
from training.backdrops import Backdrop
from training.paint import Array, Shape, blur, clip, fill, grid, mix, noise, smooth
from training.perspective import lay
from training.surfaces import MATERIALS, Material

BACKDROPS: Mapping[str, Callable[[Generator, Shape, float], Backdrop]] = {
    "brick wall": backdrops.brick_wall,
    "plaster wall": backdrops.plaster_wall,
    "studio": backdrops.studio,
    "night lights": backdrops.night_lights,
    "sky": outdoors.sky,
    "park": outdoors.park,
    "forest": outdoors.forest,
    "beach": outdoors.beach,
    "mountains": outdoors.mountains,
    "street": outdoors.street,
    "garden": outdoors.garden,
    "living room": indoors.living_room,
    "kitchen": indoors.kitchen,
    "bookshelf": indoors.bookshelf,
    "cafe": indoors.cafe,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture without a product, and what its parts are called.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        backdrop: Names of what is behind; empty where the surface covers the canvas.
        surface: Names of what is below; empty where the backdrop covers the canvas.
        edge: y of the surface's far edge in heights of the canvas; 0 where it covers the canvas, 1 where there is none.
        kinds: Keys of backdrop and surface in BACKDROPS and MATERIALS.
    """

    pixels: Array
    backdrop: tuple[str, ...]
    surface: tuple[str, ...]
    edge: float
    kinds: tuple[str, str]


def make_scene(rng: Generator, shape: Shape, far_edge: float) -> Scene:
    """Draws a scene: mostly a surface before a backdrop, sometimes one of the two alone.

    Args:
        rng: Source of everything.
        shape: Height and width of the canvas.
        far_edge: y of the surface's far edge, in heights of the canvas, where there is one.
    """
    kind = rng.random()
    if kind < 0.08:
        return _surface_alone(rng, shape)
    key = str(rng.choice(list(BACKDROPS)))
    if kind < 0.2:
        return compose(rng, shape, backdrop=key, surface=None, edge=1.0)
    return compose(rng, shape, backdrop=key, surface="", edge=far_edge)


def compose(rng: Generator, shape: Shape, *, backdrop: str, surface: str | None, edge: float) -> Scene:
    """Draws a scene of chosen kinds.

    Args:
        rng: Source of everything else.
        shape: Height and width of the canvas.
        backdrop: Key of BACKDROPS.
        surface: Key of MATERIALS, 'sweep' for paper that goes on to the front, '' for what suits, or None for none.
        edge: y of the surface's far edge, in heights of the canvas.
    """
    ground = edge if surface is not None else float(rng.uniform(0.55, 0.8))
    behind = BACKDROPS[backdrop](rng, shape, ground)
    soft = blur(behind.pixels, rng.uniform(*behind.depth) * shape[0] / 256)
    if surface is None:
        return Scene(pixels=_develop(rng, soft), backdrop=behind.names, surface=(), edge=1.0, kinds=(backdrop, ""))
    name = surface or _choose_surface(rng, behind)
    if name == "sweep":
        return Scene(
            pixels=_develop(rng, soft), backdrop=behind.names, surface=behind.names, edge=edge, kinds=(backdrop, name)
        )
    material = MATERIALS[name](rng)
    pixels = _develop(rng, _join(rng, soft, material, edge))
    return Scene(pixels=pixels, backdrop=behind.names, surface=material.names, edge=edge, kinds=(backdrop, name))


def _choose_surface(rng: Generator, backdrop: Backdrop) -> str:
    """Mostly what belongs in front of the backdrop, so that words can still be combined freely sometimes anything."""
    if backdrop.suits == ("sweep",) and rng.random() < 0.7:
        return "sweep"
    choices = backdrop.suits if rng.random() < 0.7 and "sweep" not in backdrop.suits else tuple(MATERIALS)
    return str(rng.choice(choices))


def _surface_alone(rng: Generator, shape: Shape) -> Scene:
    name = str(rng.choice(list(MATERIALS)))
    material = MATERIALS[name](rng)
    pixels = lay(material, rng, shape, edge=float(rng.uniform(-1.0, -0.2)), focus=float(rng.uniform(0.4, 0.9)))
    return Scene(pixels=_develop(rng, pixels), backdrop=(), surface=material.names, edge=0.0, kinds=("", name))


def _join(rng: Generator, behind: Array, material: Material, edge: float) -> Array:
    """Puts the surface in front: its far edge soft, the backdrop mirrored in it where it is glossy."""
    height, width = behind.shape[:2]
    y, x = grid((height, width))
    floor = lay(material, rng, (height, width), edge=edge, focus=float(rng.uniform(edge + 0.1, 0.95)))
    seam = min(height - 1, max(1, round(edge * height)))
    mirror = np.array(behind)
    rows = np.clip(seam - 1 - np.arange(height - seam), 0, height - 1)
    mirror[seam:] = blur(behind[rows], 5 * height / 256)
    fresnel = material.gloss * smooth(1.05, edge, y) + 0 * x
    floor = mix(floor, mirror, fresnel)
    softness = (0.03 if material.ground else 0.006) * float(rng.uniform(0.6, 1.4))
    rough = 0.5 * softness * noise(rng, (1, width), 2.8) if material.ground else np.zeros((1, width), np.float32)
    shade = 1 - float(rng.uniform(0, 0.2)) * np.exp(-np.abs(y - edge) / 0.03)
    return mix(behind, floor * shade[..., None], smooth(edge - softness, edge + softness, y + rough))


def _develop(rng: Generator, pixels: Array) -> Array:
    """Light from one side, vignette, exposure, white balance."""
    height, width = pixels.shape[:2]
    y, x = grid((height, width))
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.22)
    across, down = x * height / width - 0.5, y - 0.5
    light = 1 + strength * (across * np.cos(angle) + down * np.sin(angle))
    vignette = 1 - rng.uniform(0, 0.22) * (across**2 + down**2)
    balance = 1 + rng.normal(0, 0.02, 3)
    return clip(pixels * (light * vignette)[..., None] * balance * rng.uniform(0.92, 1.08))


def plain(shape: Shape, paint: Array) -> Scene:
    """A scene of one colour, for tests."""
    return Scene(pixels=fill(shape, paint), backdrop=("plain background",), surface=(), edge=1.0, kinds=("", ""))
