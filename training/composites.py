"""A product standing in a scene: placed, lit from the same side, with its shadow, its exact mask and its split line."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from training.figure import Product
from training.paint import Array, Shape, blur, clip, grid, smooth, to_bytes
from training.products import make_product
from training.scenes import Scene, make_scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A picture of a product in a scene.

    Attributes:
        pixels: With the product, (H, W, 3) uint8.
        empty: The same scene without product and shadow, (H, W, 3) uint8.
        mask: 255 where the product is, (H, W) uint8.
        split: y of the line between the lower and the upper layer, in pixels.
        backdrop: Names of what is above the line; may be empty.
        surface: Names of what is below the line; may be empty.
        kinds: Keys of backdrop and surface.
    """

    pixels: NDArray[np.uint8]
    empty: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    split: int
    backdrop: tuple[str, ...]
    surface: tuple[str, ...]
    kinds: tuple[str, str]


def make_composite(rng: Generator, shape: Shape, *, size: tuple[float, float] = (0.35, 0.75)) -> Composite:
    """Draws a scene with a product in it.

    Args:
        rng: Source of everything.
        shape: Height and width of the canvas.
        size: Range of the product's longer side over the canvas's shorter one.
    """
    height, width = shape
    product = cropped(make_product(rng, round(min(shape) * rng.uniform(*size))))
    high, wide = product.alpha.shape
    base = round(min(height - 1, max(high, rng.uniform(0.72, 0.97) * height)))
    left = int(rng.integers(0, max(1, width - wide)))
    centroid = base - high / 2
    split = centroid - rng.uniform(0, 1 / 3) * high
    scene = make_scene(rng, shape, float(np.clip(split / height + rng.normal(0, 0.025), 0.22, 0.82)))
    pixels, alpha = stand(rng, scene, product, left=left, top=base - high)
    return Composite(
        pixels=to_bytes(pixels),
        empty=to_bytes(scene.pixels),
        mask=np.where(alpha >= 0.5, 255, 0).astype(np.uint8),
        split=round(split),
        backdrop=scene.backdrop,
        surface=scene.surface,
        kinds=scene.kinds,
    )


def stand(rng: Generator, scene: Scene, product: Product, *, left: int, top: int) -> tuple[Array, Array]:
    """Puts a product into a scene with a shadow at its foot.

    Args:
        rng: Draws the light.
        scene: Its picture is left as it is.
        product: Wholly inside the canvas when placed.
        left: Column of the product's sheet on the canvas.
        top: Row of it.

    Returns:
        The picture, (H, W, 3) in [0, 1], and the product's coverage, (H, W).
    """
    height, width = scene.pixels.shape[:2]
    side_y, side_x = product.alpha.shape
    place = (slice(top, top + side_y), slice(left, left + side_x))
    alpha = np.zeros((height, width), np.float32)
    alpha[place] = product.alpha
    opacity = np.ones_like(alpha)
    opacity[place] = product.opacity
    front = np.zeros_like(scene.pixels)
    front[place] = product.pixels
    shadow = _shadow(rng, alpha, product, top + product.base * side_y, scene.edge)
    ground = scene.pixels * (1 - shadow)[..., None]
    exposure = np.float32(rng.uniform(0.85, 1.1))
    weight = (alpha * opacity)[..., None]
    return clip(ground * (1 - weight) + front * exposure * weight), alpha


def _shadow(rng: Generator, alpha: Array, product: Product, base: float, edge: float) -> Array:
    """Darkness of the ground: where the product touches it, and where it keeps the lamp from it."""
    height = alpha.shape[0]
    scale = height / 256
    y, _ = grid(alpha.shape)
    if product.lying:
        offset = rng.uniform(2, 8, 2) * scale * rng.choice([-1, 1], 2)
        return blur(ndimage.shift(alpha, offset, order=1), rng.uniform(2, 6) * scale) * float(rng.uniform(0.3, 0.65))
    foot = alpha * smooth(base - 0.1 * product.alpha.shape[0], base, y * height)
    contact = np.maximum(blur(foot, 1.5 * scale), 1.3 * blur(foot, 5 * scale))
    flat = float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.35))
    shear = float(rng.uniform(-0.8, 0.8))
    matrix = np.array([[1 / flat, 0], [shear / flat, 1]])
    offset = np.array([base * (1 - 1 / flat), -shear * base / flat])
    cast = blur(ndimage.affine_transform(alpha, matrix, offset.tolist(), order=1), rng.uniform(2, 7) * scale)
    on_ground = smooth(edge - 0.02, edge + 0.03, y) if 0 < edge < 1 else np.ones_like(y)
    dark = clip(contact * rng.uniform(0.45, 0.8) + cast * rng.uniform(0.1, 0.5)) * on_ground
    return np.minimum(dark, 0.85)


def cropped(product: Product) -> Product:
    """Cuts a product's sheet to the product."""
    rows = np.flatnonzero(product.alpha.max(axis=1) >= 0.5)
    columns = np.flatnonzero(product.alpha.max(axis=0) >= 0.5)
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    base = (product.base * product.alpha.shape[0] - rows[0]) / (rows[-1] + 1 - rows[0])
    return Product(
        pixels=product.pixels[cut],
        alpha=product.alpha[cut],
        opacity=product.opacity[cut],
        base=float(np.clip(base, 0, 1)),
        lying=product.lying,
    )
