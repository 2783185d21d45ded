"""All kinds of products there are to draw, by name."""

from collections.abc import Callable, Mapping

from numpy.random import Generator

from training import apparel, cups, goods, vessels
from training.figure import Product

PRODUCTS: Mapping[str, Callable[[Generator, int], Product]] = {
    "bottle": vessels.bottle,
    "can": vessels.can,
    "jar": vessels.jar,
    "mug": cups.mug,
    "vase": vessels.vase,
    "speaker": vessels.speaker,
    "cup": cups.cup_on_saucer,
    "box": goods.box,
    "book": goods.book,
    "shoe": apparel.shoe,
    "bag": apparel.bag,
    "phone": goods.phone,
    "watch": apparel.watch,
    "headphones": apparel.headphones,
    "toy": goods.pebble,
}


def make_product(rng: Generator, side: int) -> Product:
    """Draws a product of a random kind on a square sheet of `side` pixels; speakers and cups come twice as often."""
    kinds = [*PRODUCTS, "speaker", "cup"]
    return PRODUCTS[str(rng.choice(kinds))](rng, side)
