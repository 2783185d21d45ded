"""The canvas of a request, and the size its models paint at."""

from __future__ import annotations

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, BundleDefaults
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.resolve import model_size, resolve
from inpaint_server.wire.schema import validate

NATIVE = Size(height=512, width=512)


def _resolved(**fields: object) -> AdvertRequest:
    wire = validate({"background_prompt": "a beach", "foreground_prompt": "sand", **fields}, has_image=True)
    photo = Pixels(np.zeros((40, 60, 3), np.uint8))
    return resolve(wire, photo, None, BundleDefaults(size=NATIVE), draw_seed=lambda: 1)


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [("1:1", 1080, 1080), ("4:5", 1080, 1350), ("9:16", 1080, 1920), ("16:9", 1920, 1080), ("1.91:1", 1200, 628)],
)
def test_aspect_ratio_sets_canvas(name: str, width: int, height: int):
    request = _resolved(aspect_ratio=name)
    assert request.canvas == Size(height=height, width=width)
    painted = request.model_size
    assert painted.height % 8 == painted.width % 8 == 0
    assert painted.pixels == pytest.approx(NATIVE.pixels, rel=0.03)  # sides are rounded to 8 of about 512 pixels
    assert painted.width / painted.height == pytest.approx(width / height, rel=0.02)


def test_aspect_ratio_with_width_is_refused():
    with pytest.raises(InvalidRequest, match="not both") as refused:
        _resolved(aspect_ratio="1:1", width=512)
    assert refused.value.field == "aspect_ratio"


@pytest.mark.parametrize(("height", "width"), [(512, 512), (64, 64), (256, 1024), (384, 512)])
def test_model_size_is_canvas_up_to_native_pixels(height: int, width: int):
    canvas = Size(height=height, width=width)
    assert model_size(canvas, NATIVE) == canvas


def test_model_size_of_long_strip_keeps_minimum_side():
    assert model_size(Size(height=64, width=2048), Size(height=64, width=64)).height >= 64
