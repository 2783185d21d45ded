"""The product photos that ship for demonstration, drawn large, with their exact masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.composites import cropped, stand
from training.paint import to_bytes
from training.products import PRODUCTS
from training.scenes import compose

SHAPE = (720, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRecipe:
    """One demo photo: which product stands where."""

    product: str
    backdrop: str
    surface: str
    seed: int
    height: float = 0.68  # of the product, over the photo's height


PHOTOS: Mapping[str, PhotoRecipe] = {
    "bottle": PhotoRecipe(product="bottle", backdrop="plaster wall", surface="wood", seed=51, height=0.78),
    "box": PhotoRecipe(product="box", backdrop="studio", surface="sweep", seed=32),
    "mug": PhotoRecipe(product="mug", backdrop="kitchen", surface="marble", seed=23),
    "shoe": PhotoRecipe(product="shoe", backdrop="studio", surface="sweep", seed=14, height=0.75),
    "speaker": PhotoRecipe(product="speaker", backdrop="forest", surface="stone", seed=35, height=0.72),
}


def draw_photo(recipe: PhotoRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Draws one photo.

    Returns:
        The photo, SHAPE x 3 uint8, and its mask, SHAPE uint8, 255 where the product is.
    """
    rng = np.random.default_rng([2026, recipe.seed])
    height, width = SHAPE
    product = cropped(PRODUCTS[recipe.product](rng, round(recipe.height * height)))
    tall, wide = product.alpha.shape
    base = round(0.9 * height)
    scene = compose(rng, SHAPE, backdrop=recipe.backdrop, surface=recipe.surface, edge=0.58)
    pixels, alpha = stand(rng, scene, product, left=(width - wide) // 2, top=base - tall)
    grain = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(0.008)
    return to_bytes(pixels + grain), np.where(alpha >= 0.5, 255, 0).astype(np.uint8)


def write_photos(photos: Path, masks: Path) -> None:
    """Writes every demo photo as JPEG, and its mask beside the tests as PNG."""
    for folder in (photos, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in PHOTOS.items():
        photo, mask = draw_photo(recipe)
        Image.fromarray(photo).save(photos / f"{name}.jpg", quality=90, optimize=True)
        Image.fromarray(mask).convert("1").save(masks / f"{name}.png", optimize=True)
