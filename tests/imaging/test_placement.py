"""Where the product stands: whole expected boxes, and properties that hold for every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Box, Placement, Size
from inpaint_server.domain.product import PlacedProduct, Product
from inpaint_server.domain.request import PlacementRule
from inpaint_server.imaging.mask import find_product
from inpaint_server.imaging.placement import canvas_from_photo, cut_off_warning, moved_warning, place
from testing.pictures import disc, noise, rectangle

SHAPES = [(1, 1), (1, 10), (10, 1), (3, 2), (16, 9)]
CANVASES = [
    Size(height=height, width=width) for height, width in ((512, 512), (64, 64), (64, 2048), (2048, 64), (768, 512))
]


def _place(product: Product, canvas: Size, rule: PlacementRule, seed: int = 0) -> PlacedProduct:
    return place(product, canvas, rule, np.random.default_rng(seed))


def _edges(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.right, box.bottom


def _bare(height: int, width: int) -> Product:
    """A product that is its whole photo."""
    return rectangle(height, width, margin=0)


@pytest.mark.parametrize(
    ("shape", "canvas", "rule", "expected"),
    [
        ((100, 100), (512, 512), "centre", (102, 102, 409, 409)),
        ((200, 100), (512, 512), "centre", (179, 102, 333, 409)),
        ((100, 200), (512, 1024), "centre", (358, 179, 665, 333)),
        ((100, 1000), (64, 512), "centre", (237, 30, 275, 34)),
        ((1000, 100), (512, 64), "centre", (30, 237, 34, 275)),
        # As in the photo: fitted and centred.
        ((100, 100), (512, 512), "original", (0, 0, 512, 512)),
        ((100, 200), (512, 512), "original", (0, 128, 512, 384)),
        ((100, 100), (512, 1024), "original", (256, 0, 768, 512)),
        # Given.
        ((100, 100), (512, 512), Placement(scale=0.5, x=0.5, y=0.75), (128, 128, 384, 384)),
        ((100, 100), (512, 512), Placement(scale=0.25, x=0.25, y=0.5), (64, 128, 192, 256)),
        # Given, and moved or shrunk until it is inside.
        ((100, 100), (512, 512), Placement(scale=0.5, x=0.0, y=0.0), (0, 0, 256, 256)),
        ((100, 100), (512, 512), Placement(scale=0.5, x=1.0, y=1.0), (256, 256, 512, 512)),
        ((100, 100), (512, 512), Placement(scale=4.0, x=0.5, y=0.5), (0, 0, 512, 512)),
        ((100, 50), (512, 512), Placement(scale=4.0, x=0.5, y=0.5), (128, 0, 384, 512)),
        ((50, 100), (512, 256), Placement(scale=2.0, x=0.5, y=0.5), (0, 128, 256, 256)),
        ((100, 100), (512, 512), Placement(scale=1e-9, x=0.5, y=0.5), (256, 255, 257, 256)),
    ],
)
def test_placement_boxes(
    shape: tuple[int, int], canvas: tuple[int, int], rule: PlacementRule, expected: tuple[int, ...]
):
    size = Size(height=canvas[0], width=canvas[1])
    # Half pixels may round either way.
    assert np.abs(np.subtract(_edges(_place(_bare(*shape), size, rule).box), expected)).max() <= 1
    if isinstance(rule, Placement):
        assert _edges(_place(_bare(*shape), size, rule).box) == expected


def test_random_placements_stay_inside():
    # A shift drawn without looking at the product's box, as the replaced sample has it, loses part of the product in
    # 12% of draws for a product of half the photo's side, and in 59% for one of 0.95.
    products = [rectangle(40 * down, 40 * right, margin=5) for down, right in SHAPES]
    pairs = [(product, canvas) for product in products for canvas in CANVASES]
    for number in range(1000):
        product, canvas = pairs[number % len(pairs)]
        box = _place(product, canvas, "random", number).box
        assert box.left >= 0, (number, canvas)
        assert box.top >= 0, (number, canvas)
        assert box.right <= canvas.width, (number, canvas)
        assert box.bottom <= canvas.height, (number, canvas)
        # It stands in the lower part and does not hug the sides.
        assert 0.78 * canvas.height <= box.bottom <= 0.96 * canvas.height, (number, canvas)
        assert min(box.left, canvas.width - box.right) >= 0.02 * canvas.width - 1, (number, canvas)
        longer = max(box.size.height, box.size.width) / canvas.shorter_side
        assert 0.49 <= longer <= 0.69, (number, canvas)


def test_random_placements_differ_and_repeat():
    canvas = Size(height=512, width=512)
    boxes = [_edges(_place(_bare(50, 40), canvas, "random", seed).box) for seed in range(20)]
    assert len(set(boxes)) == 20
    assert boxes == [_edges(_place(_bare(50, 40), canvas, "random", seed).box) for seed in range(20)]


sides = st.integers(1, 160)
canvas_sides = st.integers(8, 64).map(lambda cells: cells * 8)
rules = st.one_of(
    st.sampled_from(["random", "centre", "original"]),
    st.builds(Placement, scale=st.floats(1e-3, 10), x=st.floats(0, 1), y=st.floats(0, 1)),
)


@settings(max_examples=400, deadline=None)
@given(sides, sides, canvas_sides, canvas_sides, rules, st.integers(0, 2**32 - 1))
def test_placement_is_inside_and_round_trips(
    height: int, width: int, canvas_height: int, canvas_width: int, rule: PlacementRule, seed: int
):
    product = rectangle(height, width, margin=3)
    canvas = Size(height=canvas_height, width=canvas_width)
    placed = _place(product, canvas, rule, seed)
    box = placed.box
    assert 0 <= box.left < box.right <= canvas.width
    assert 0 <= box.top < box.bottom <= canvas.height
    assert placed.pixels.shape == (box.size.height, box.size.width, 3)
    assert placed.mask.shape == placed.pixels.shape[:2]
    assert not placed.pixels.flags.writeable
    assert not placed.mask.flags.writeable
    again = _place(product, canvas, placed.placement, seed)
    assert again.box == box
    assert again.placement == placed.placement
    assert moved_warning(placed.placement, again) is None


@settings(max_examples=200, deadline=None)
@given(sides, sides, canvas_sides, canvas_sides)
def test_aspect_ratio_is_kept(height: int, width: int, canvas_height: int, canvas_width: int):
    size = _place(rectangle(height, width), Size(height=canvas_height, width=canvas_width), "centre").box.size
    longer, shorter = max(size.height, size.width), min(size.height, size.width)
    assert abs(shorter - max(1, min(height, width) * longer / max(height, width))) <= 0.5


def test_later_draws_do_not_depend_on_placement_rule():
    rules: list[PlacementRule] = ["random", "centre", "original", Placement(scale=0.5, x=0.5, y=0.9)]
    left: list[float] = []
    for rule in rules:
        rng = np.random.default_rng(7)
        place(_bare(50, 40), Size(height=64, width=64), rule, rng)
        left.append(rng.random())
    assert len(set(left)) == 1


def test_scale_one_copies_photo_pixels():
    product = rectangle(100, 60)
    placed = _place(product, Size(height=256, width=200), Placement(scale=0.5, x=0.5, y=0.9))
    assert placed.box.size == product.box.size
    np.testing.assert_array_equal(placed.pixels, product.photo[product.box.slices])
    np.testing.assert_array_equal(placed.mask, product.mask[product.box.slices])


def test_product_edge_is_resampled_with_its_surroundings():
    """Resampling the whole photo and cutting afterwards gives the same pixels."""
    from PIL import Image

    product = rectangle(64, 64, margin=32)
    placed = _place(product, Size(height=64, width=64), Placement(scale=0.5, x=0.5, y=1.0))
    whole = np.asarray(Image.fromarray(product.photo).resize((64, 64), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(placed.pixels, whole[16:48, 16:48])


def test_resampled_mask_has_no_ripples():
    placed = _place(disc(300), Size(height=512, width=512), Placement(scale=0.3, x=0.5, y=0.9))
    height, width = placed.mask.shape
    rows, columns = np.mgrid[:height, :width] - (height - 1) / 2
    far = rows**2 + columns**2 > (height / 2 + 2) ** 2
    assert far.sum() > 1000
    assert not placed.mask[far].any()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Placement(scale=0.5, x=0.5, y=0.9), None),
        (Placement(scale=0.5, x=0.0, y=0.9), "x 0.25"),
        (Placement(scale=3.0, x=0.5, y=1.0), "scale 1"),
        ("random", None),
    ],
)
def test_changed_placement_gives_warning(rule: PlacementRule, words: str | None):
    warning = moved_warning(rule, _place(_bare(50, 50), Size(height=512, width=512), rule))
    assert warning is None if words is None else words in str(warning)


@pytest.mark.parametrize("canvas", CANVASES)
def test_photo_canvas_has_product_at_its_placement(canvas: Size):
    product = rectangle(40, 30, margin=17)
    placed = _place(product, canvas, "original")
    scene = canvas_from_photo(product, placed)
    assert scene.shape == (canvas.height, canvas.width, 3)
    inner = (slice(2, -2), slice(2, -2))
    difference = scene[placed.box.slices][inner].astype(int) - placed.pixels[inner]
    assert np.abs(difference).max(initial=0) <= 2


def test_photo_canvas_has_canvas_size():
    """A product of one pixel enlarged to the canvas would make the whole photo 128,000 pixels wide."""
    photo = noise(250, 250)
    mask = np.zeros((250, 250), np.uint8)
    mask[100, 100] = 255
    product = Product(photo=photo, mask=mask, box=Box(left=100, top=100, right=101, bottom=101))  # pyright: ignore[reportArgumentType]
    canvas = Size(height=512, width=512)
    scene = canvas_from_photo(product, _place(product, canvas, Placement(scale=1, x=0.5, y=1)))
    assert scene.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ((20, 100), (20, 60), "the bottom"),
        ((20, 80), (0, 60), "the left"),
        ((0, 100), (20, 60), "the top and the bottom"),
        ((20, 80), (20, 60), None),
    ],
)
def test_cut_off_product_gives_warning(rows: tuple[int, int], columns: tuple[int, int], words: str | None):
    mask = np.zeros((100, 80), np.uint8)
    mask[slice(*rows), slice(*columns)] = 255
    if words == "the top and the bottom":
        mask[45:60, 60:] = 255  # touches the right border, too little to be cut there
    found = find_product(Pixels(np.zeros((100, 80, 3), np.uint8)), ProductMask(mask))
    warning = cut_off_warning(found)
    assert (warning is None) == (words is None)
    assert warning is None or f"cuts the product off at {words}," in warning
