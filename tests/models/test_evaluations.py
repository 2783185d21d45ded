"""How many model evaluations an advert takes, by profile, counted on the models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels, ProductMask, frozen_array
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.engine.engine import Engine
from inpaint_server.models.backend import TorchBackend
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import validate

NATIVE = BundleDefaults(size=Size(height=64, width=64))


def evaluations(backend: TorchBackend, **fields: Any) -> int:
    """Rows of all UNet calls for one advert."""
    rows: list[int] = []
    unets = [backend.text_to_image.unet, backend.inpainting.unet]
    hooks = [unet.conv_in.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0]))) for unet in unets]
    mask = np.zeros((64, 64), np.uint8)
    mask[20:50, 20:44] = 255
    wire = validate({"background_prompt": "a beach", "foreground_prompt": "sand", **fields}, has_image=True)
    photo = Pixels(frozen_array(np.full((64, 64, 3), 128, np.uint8)))
    request = resolve(wire, photo, ProductMask(frozen_array(mask)), NATIVE, draw_seed=lambda: 1)
    engine = Engine(backend, queue=1, max_batch=1)
    engine.submit(request, deadline_s=float("inf")).answer.result()
    engine.drain()
    for hook in hooks:
        hook.remove()
    return sum(rows)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        # 50 + 100 + 100 steps; the solver evaluates once more in each pass, to begin its history.
        ({"profile": "seed"}, 2 * (51 + 101 + 101)),
        # The upper pass keeps three tenths of the background, and so leaves out three tenths of its steps.
        ({}, 2 * (25 + 25 + 17)),
        ({"profile": "fast"}, 33),
        ({"joint": True}, 3 * 25),
        ({"steps": 4, "guidance_interval": [0.0, 0.5], "background_strength": 1.0}, 3 * (2 * 2 + 2)),
    ],
)
def test_model_evaluations_of_advert(backend: TorchBackend, fields: dict[str, Any], wanted: int):
    assert evaluations(backend, **fields) == wanted
