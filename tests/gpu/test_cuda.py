"""The CUDA path, on a machine with a GPU (`make test-gpu`): the CPU's code on another device and precision."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import Generate, Segment
from inpaint_server.domain.geometry import Point, Size
from inpaint_server.domain.request import Sampling
from inpaint_server.errors import OutOfMemory
from inpaint_server.models import bundle as bundles
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.device import choose

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
FOLDER = Path(os.environ.get("MODEL_DIR", "")) if os.environ.get("MODEL_DIR") else bundles.DEMO


@pytest.fixture(scope="module")
def painter() -> TorchBackend:
    return TorchBackend(bundles.open_bundle(FOLDER), choose("cuda", "auto"))


def ask(seed: int, size: Size | None = None) -> Generate:
    return Generate(
        prompt="a wooden table",
        negative_prompt="",
        size=size or Size(height=256, width=256),
        sampling=Sampling(steps=8, guidance_scale=5.0, scheduler="dpmpp_2m_karras"),
        noise_seed=seed,
    )


def paint(painter: TorchBackend, *asks: Generate) -> list[Pixels]:
    under_way = painter.begin(asks)
    while not under_way[0].done:
        painter.advance(under_way)
    return painter.finish(under_way)


def test_weights_are_in_half_precision_on_the_gpu_and_attention_is_told(painter: TorchBackend):
    assert painter.card.dtype == "float16"
    assert painter.card.attention in {"xformers", "sdpa"}
    assert next(painter.inpainting.unet.parameters()).is_cuda


def test_the_gpu_paints_what_the_cpu_paints(painter: TorchBackend):
    """Half precision against single: the same picture to the eye, mean difference below 4/255."""
    on_cpu = TorchBackend(bundles.open_bundle(FOLDER), choose("cpu", "float32"))
    difference = np.abs(paint(painter, ask(1))[0].astype(int) - paint(on_cpu, ask(1))[0])
    assert difference.mean() < 4


def test_batched_is_alone(painter: TorchBackend):
    together = paint(painter, ask(1), ask(2), ask(3))
    for seed, picture in enumerate(together, start=1):
        assert np.abs(paint(painter, ask(seed))[0].astype(int) - picture).mean() < 1


def test_a_photo_is_segmented(painter: TorchBackend):
    photo = np.full((256, 256, 3), 20, np.uint8)
    photo[80:180, 90:170] = 230
    points = (Point(x=128, y=128, label=1),)
    found = painter.segment([Segment(photo=Pixels(frozen_array(photo)), points=points, box=None)])[0]
    assert found.masks.shape == (3, 256, 256)


def test_what_memory_was_measured_to_hold_fits(painter: TorchBackend):
    size = Size(height=512, width=512)
    (one,) = painter.begin([ask(1, size)])
    painter.advance([one])
    count = min(64, painter.max_passes(one))
    assert count > 1
    painter.advance(painter.begin([ask(seed, size) for seed in range(count)]))


def test_after_out_of_memory_the_next_picture_is_painted(painter: TorchBackend):
    with pytest.raises(OutOfMemory):
        painter.advance(painter.begin([ask(seed, Size(height=2048, width=2048)) for seed in range(64)]))
    assert paint(painter, ask(1))[0].shape == (256, 256, 3)
