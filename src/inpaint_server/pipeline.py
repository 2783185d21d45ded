"""The story of one advert: it asks for passes and receives their pixels; it never paints itself.

Each story is a generator that yields the diffusion passes it needs (`Generate`, `Inpaint`), receives their pixels
and returns the `Advert`. Who drives it decides where and in which batch the passes run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from inpaint_server.imaging.composite import keep_unpainted, lay_product
from inpaint_server.imaging.layers import mask_on_canvas, paint_mask, split_line
from inpaint_server.imaging.placement import canvas_from_photo, moved_warning, place
from inpaint_server.types import (
    Advert,
    AdvertRequest,
    Generate,
    Inpaint,
    Layers,
    Pass,
    Pixels,
    Product,
)

Story = Generator[Pass, Pixels, Advert]
"""Yields passes, receives their pixels (H x W x 3 of the canvas), returns the advert."""


def compose(request: AdvertRequest, seed: int, product: Callable[[], Product]) -> Story:
    """Tell the story of one picture, from its seed.

    Args:
        request: What was asked.
        seed: Decides placement, split line and the noise of every pass of this picture.
        product: Gives the product, waiting for its mask where that is still being found; called once the background
            is there, so that the two can be made at the same time.
    """
    if request.task == "background":
        return Advert(picture=(yield _background(request, seed)), seed=seed)
    background = None if request.task == "inpaint" else (yield _background(request, seed))
    rng = np.random.default_rng(seed)
    placed = place(product(), request.canvas, request.placement, rng)
    split = split_line(placed, rng)
    canvas = (
        canvas_from_photo(product(), placed) if background is None else lay_product(background, placed, request.feather)
    )
    passes: list[Pixels] = []
    for number, layer in enumerate(request.layers, start=1):
        mask = paint_mask(layer.region, placed, split)
        painted = yield Inpaint(
            canvas=canvas,
            mask=mask,
            prompt=layer.prompt,
            negative_prompt=layer.negative_prompt,
            sampling=request.pass_sampling,
            noise_seed=noise_seed(seed, number),
        )
        canvas = keep_unpainted(canvas, painted, mask)
        passes.append(canvas)
    warning = moved_warning(request.placement, placed)
    return Advert(
        picture=lay_product(canvas, placed, request.feather),
        seed=seed,
        placed=placed,
        split=split,
        layers=Layers(mask=mask_on_canvas(placed), background=background, passes=tuple(passes)),
        warnings=(warning,) if warning else (),
    )


def noise_seed(seed: int, number: int) -> int:
    """The seed of one pass's noise: pass 0 (the background) uses the picture's own, the others streams apart from it.

    Independent of what was drawn before it, so that a pass can be painted, repeated or skipped on its own.
    """
    if number == 0:
        return seed
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _background(request: AdvertRequest, seed: int) -> Generate:
    return Generate(
        prompt=request.background_prompt,
        negative_prompt=request.negative_prompt,
        size=request.canvas,
        sampling=request.background_sampling,
        noise_seed=noise_seed(seed, 0),
    )
