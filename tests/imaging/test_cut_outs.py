"""A cut-out is laid by its coverage: glass, soft shadows and hair stay what they are, and nothing becomes hard."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.calls import FindProduct, Generate, Inpaint
from inpaint_server.domain.geometry import Placement, Size
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.imaging.composite import composite_product
from inpaint_server.imaging.mask import cut_out_product
from inpaint_server.imaging.placement import place_at
from inpaint_server.imaging.receipt import compared, identity
from inpaint_server.imaging.shadow import cast_contact_shadow
from inpaint_server.pipeline import compose, noise_seed
from testing.pictures import file
from testing.pipeline import drive
from testing.plain_server import PlainServer
from testing.requests import resolved

SIDE = 64
RED, BLACK, HIDDEN = (200, 60, 40), (0, 0, 0), (255, 0, 255)
"""The product, its shadow, and what an editor leaves in the colours of transparent pixels."""


def rgba(*areas: tuple[tuple[slice, slice], tuple[int, int, int], int]) -> UInt8Array:
    """A cut-out of areas, each with its colour and alpha, later ones over earlier ones."""
    drawn = np.zeros((SIDE, SIDE, 4), np.uint8)
    drawn[..., :3] = HIDDEN
    for area, colour, alpha in areas:
        drawn[area] = (*colour, alpha)
    return drawn


BODY = (slice(8, 48), slice(20, 44))


def shadowed() -> UInt8Array:
    """An opaque body on its soft drop shadow, which is up to 60% dark and reaches 12 pixels below it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot((rows - 46) / 14, (columns - 32) / 30)
    shade = np.rint(153 * np.clip(1.4 * (1 - distance), 0, 1)).astype(np.uint8)
    drawn = rgba()
    drawn[shade > 0] = 0
    drawn[..., 3] = shade
    drawn[BODY] = (*RED, 255)
    return drawn


SHADOWED = shadowed()


def glass(low: int = 60, high: int = 180) -> UInt8Array:
    drawn = rgba((BODY, RED, 0))
    drawn[BODY][..., 3] = np.linspace(low, high, 24).astype(np.uint8)
    return drawn


def placed_at(drawn: UInt8Array, placement: Placement, side: int = SIDE) -> PlacedProduct:
    product = cut_out_product(
        Pixels(frozen_array(drawn[..., :3])), ProductMask(frozen_array(drawn[..., 3])), is_alpha=True
    )
    return place_at(product, Size(height=side, width=side), placement)


def as_drawn(drawn: UInt8Array) -> PlacedProduct:
    """Every pixel of the cut-out is a pixel of the canvas."""
    return placed_at(drawn, Placement(scale=40 / SIDE, x=32 / SIDE, y=48 / SIDE))


def over(drawn: UInt8Array, ground: UInt8Array) -> np.ndarray:
    """Porter and Duff's `over`, in floats."""
    alpha = drawn[..., 3:] / 255
    return alpha * drawn[..., :3] + (1 - alpha) * ground


def flat(level: int) -> Pixels:
    return Pixels(np.full((SIDE, SIDE, 3), level, np.uint8))


@pytest.fixture(scope="module")
def server() -> Iterator[PlainServer]:
    with PlainServer() as running:
        yield running


def advert(server: PlainServer, drawn: UInt8Array, **fields: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The picture and its description, the product as it was drawn, on a scene of one grey level."""
    layers = [{"region": "around", "prompt": "sand"}]
    usual = {"background_prompt": "sea", "layers": layers, "seed": 5, "shadow": 0, "steps": 1, "placement": "original"}
    image = base64.b64encode(file(drawn)).decode()
    reply = server.invoke({**usual, "image": image, **fields})
    assert reply.status_code == 200, reply.text
    answered = reply.json()["images"][0]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answered["image"])))).astype(int), answered


@pytest.mark.parametrize(
    "drawn", [SHADOWED, glass(), glass(150, 150), glass(20, 90)], ids=["shadow", "60-180", "150", "90"]
)
def test_alpha_is_coverage_over_wire(server: PlainServer, drawn: UInt8Array):
    picture, _ = advert(server, drawn)
    scene = flat(noise_seed(5, 1) % 251)
    assert np.abs(picture - over(drawn, scene)).max() <= 1


def test_soft_mask_is_coverage_too(server: PlainServer):
    drawn = glass()
    mask = base64.b64encode(file(drawn[..., 3])).decode()
    picture, _ = advert(server, drawn[..., :3], mask=mask)
    inside = over(drawn, flat(noise_seed(5, 1) % 251))
    assert np.abs(picture - inside)[BODY].max() <= 1


def test_scene_is_painted_behind_glass():
    drawn = glass()
    request = resolved(
        Pixels(drawn[..., :3]), ProductMask(drawn[..., 3]), background_prompt="sea", foreground_prompt="sand"
    )
    product = cut_out_product(
        Pixels(frozen_array(drawn[..., :3])), ProductMask(frozen_array(drawn[..., 3])), is_alpha=True
    )
    plain: dict[type, Callable[[object], Pixels]] = {kind: lambda _: flat(90) for kind in (Generate, Inpaint)}
    calls, _ = drive(compose(request, 7), {FindProduct: lambda _: product, **plain})
    lower, upper = (call for call in calls if isinstance(call, Inpaint))
    assert (np.maximum(lower.mask, upper.mask) == 255).all()
    assert (upper.canvas == 90).all(), "no pass sees what light comes through"


@pytest.mark.parametrize("side", [48, 64, 100, 200])
def test_hidden_colours_are_never_mixed_in(side: int):
    placed = placed_at(SHADOWED, Placement(scale=0.6, x=0.5, y=0.75), side)
    laid = composite_product(Pixels(np.full((side, side, 3), 200, np.uint8)), placed, 1).astype(int)
    red, green, blue = (laid[..., channel] for channel in range(3))
    assert (blue <= red).all() and (green >= np.minimum(blue, 60) - 25).all(), "nothing is magenta"


@pytest.mark.parametrize("feather", [0, 1, 2, 4, 8])
def test_shadow_beside_opaque_body_keeps_its_colour_whatever_feather(feather: int):
    laid = composite_product(flat(200), as_drawn(SHADOWED), feather)
    wanted = over(SHADOWED, flat(200))
    beside, below = (slice(40, 48), slice(44, 58)), (slice(48, 60), slice(20, 44))
    for place in (beside, below):
        assert np.abs(laid[place] - wanted[place]).max() <= 1, "no glow of the body's colour, and no step"


@pytest.mark.parametrize("feather", [2, 4])
def test_hard_outline_is_as_soft_as_feather(feather: int):
    body = rgba((BODY, RED, 255))
    row = composite_product(flat(0), as_drawn(body), feather)[28].astype(int)
    assert 0 < row[19, 0] < row[20, 0] < 200
    assert row[20 + feather, 0] == 200
    assert np.abs(row[:, 2] - row[:, 0] / 5).max() <= 1, "of the product's colour all over"


def test_mask_beside_opaque_photo_leaves_nothing_of_its_background_on_edge(server: PlainServer):
    drawn = rgba((BODY, RED, 255))
    drawn[28:48, 44] = (*RED, 120)
    photo = np.rint(over(drawn, np.full((SIDE, SIDE, 3), (0, 255, 0), np.uint8))).astype(np.uint8)
    mask = base64.b64encode(file(drawn[..., 3])).decode()
    picture, _ = advert(server, photo, mask=mask)
    wanted = over(drawn, flat(noise_seed(5, 1) % 251))
    assert np.abs(picture - wanted).max() <= 1, "no green is left"


def test_strands_pixel_wide_keep_their_coverage():
    drawn = rgba((BODY, RED, 255))
    drawn[0:8, 22:42:3] = (90, 60, 30, 80)
    laid = composite_product(flat(200), as_drawn(drawn), 1)
    np.testing.assert_allclose(laid[0:4], over(drawn, flat(200))[0:4], atol=1)


def test_solid_part_is_placed_and_not_its_shadow():
    bare, shadowed = (
        placed_at(drawn, Placement(scale=0.5, x=0.5, y=0.9)) for drawn in (rgba((BODY, RED, 255)), SHADOWED)
    )
    assert shadowed.box == bare.box
    assert shadowed.cut_out is not None
    assert shadowed.cut_out.coverage[bare.box.bottom :].any(), "the shadow lies below it"


def test_contact_shadow_lies_at_solid_part():
    bare, shadowed = (as_drawn(drawn) for drawn in (rgba((BODY, RED, 255)), SHADOWED))
    np.testing.assert_array_equal(
        cast_contact_shadow(flat(180), bare, 0.5), cast_contact_shadow(flat(180), shadowed, 0.5)
    )


@pytest.mark.parametrize("placement", [Placement(scale=1.0, x=0.0, y=0.0), Placement(scale=0.6, x=1.0, y=0.1)])
def test_soft_hair_lies_inside_canvas(placement: Placement):
    drawn = rgba((BODY, RED, 255))
    drawn[8:20, 2:62:2] = (90, 60, 30, 60)
    drawn[0:8, 22:42:3] = (90, 60, 30, 60)
    placed = placed_at(drawn, placement, 256)
    again = placed_at(drawn, placed.placement, 256)
    assert placed.cut_out is not None
    rows, columns = np.nonzero(placed.cut_out.coverage)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    scale = placed.box.size.height / 40
    assert (height, width) == pytest.approx((48 * scale, 59 * scale), abs=3), "nothing is cut off"
    assert again.box == placed.box


def test_receipt_says_what_it_compared(server: PlainServer):
    _, opaque = advert(server, rgba((BODY, RED, 255)))
    _, clear = advert(server, glass())
    assert opaque["receipt"]["identity"] == 0
    assert opaque["receipt"]["compared"] == pytest.approx(38 * 22 / (40 * 24), abs=0.001)
    assert "identity" not in clear["receipt"]
    assert clear["receipt"]["compared"] == 0


def test_changed_pixel_of_cut_out_is_found():
    placed = as_drawn(SHADOWED)
    picture = composite_product(flat(90), placed, 1).copy()
    picture[30, 30] ^= 16
    assert identity(Pixels(picture), placed, 1) == 16
    picture[30, 30] ^= 16
    picture[50, 30] ^= 16
    assert identity(Pixels(picture), placed, 1) == 0, "the shadow shows the scene"
    assert compared(placed, 1) > 0.8


@pytest.mark.parametrize("colour", [RED, BLACK])
def test_product_may_be_soft_all_over(colour: tuple[int, int, int]):
    assert as_drawn(rgba((BODY, colour, 120))).box.size == Size(height=40, width=24)
