"""Segment Anything from NumPy arrays to NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.calls import MaskProposals, Segment
from inpaint_server.domain.geometry import Box, Point
from inpaint_server.imaging.mask_logits import propose_masks
from inpaint_server.models.bundle import DEMO
from inpaint_server.models.device import choose
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.sam import SamConfig, build_sam
from inpaint_server.models.segmenter import Segmenter

CPU = choose("cpu", "float32")
SAM: Path = DEMO / "sam"


def photo(height: int = 200, width: int = 300) -> Pixels:
    y, x = np.mgrid[:height, :width]
    lit = np.hypot(y - height / 2, x - width / 2) < 60
    return Pixels(frozen_array(np.where(lit[..., None], (220, 40, 30), (60, 90, 120)).astype(np.uint8)))


def segment_call(*points: tuple[float, float, int], box: Box | None = None, of: Pixels | None = None) -> Segment:
    prompts = tuple(Point(x=x, y=y, label=label) for x, y, label in points)
    return Segment(photo=photo() if of is None else of, points=prompts, box=box)


def proposed(segmenter: Segmenter, calls: Sequence[Segment]) -> list[MaskProposals]:
    return [propose_masks(found) for found in segmenter.segment(calls)]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SAM, CPU, MemoryEstimator(CPU), cache_bytes=10_000_000)


@pytest.mark.parametrize("shape", [(64, 640), (640, 64), (33, 57), (256, 256)])
def test_masks_have_photo_size_and_scores(segmenter: Segmenter, shape: tuple[int, int]):
    found = proposed(segmenter, [segment_call((shape[1] / 2, shape[0] / 2, 1), of=photo(*shape))])[0]
    assert found.masks.shape == (3, *shape)
    assert set(np.unique(found.masks)) <= {0, 255}
    assert np.array_equal(found.best, found.masks[int(np.argmax(found.scores))])


def test_second_point_reuses_embedding():
    segmenter = Segmenter(SAM, CPU, MemoryEstimator(CPU), cache_bytes=10_000_000)
    segmenter.segment([segment_call((150, 100, 1))])
    again = proposed(segmenter, [segment_call((10, 10, 1))])[0]
    assert (segmenter.embeddings.stats.hits, segmenter.embeddings.stats.misses) == (1, 1)
    fresh = proposed(Segmenter(SAM, CPU, MemoryEstimator(CPU)), [segment_call((10, 10, 1))])[0]
    assert np.array_equal(again.masks, fresh.masks)


def test_equal_bytes_of_another_shape_are_another_photo():
    segmenter = Segmenter(SAM, CPU, MemoryEstimator(CPU), cache_bytes=10_000_000)
    one = photo(200, 300)
    other = Pixels(frozen_array(one.reshape(300, 200, 3)))
    for picture in (one, other):
        segmenter.segment([segment_call((100, 100, 1), of=picture)])
    assert segmenter.embeddings.stats.hits == 0


def test_points_and_boxes_change_masks(segmenter: Segmenter):
    whole = proposed(segmenter, [segment_call((150, 100, 1))])[0]
    boxed = proposed(segmenter, [segment_call(box=Box(left=0, top=0, right=40, bottom=40))])[0]
    without = proposed(segmenter, [segment_call((150, 100, 0), (10, 10, 1))])[0]
    assert not np.array_equal(whole.masks, boxed.masks)
    assert not np.array_equal(whole.masks, without.masks)


def test_prepared_photo_needs_no_pixels_on_device():
    segmenter = Segmenter(SAM, CPU, MemoryEstimator(CPU), cache_bytes=10_000_000)
    call = segment_call((150, 100, 1))
    first, cached = segmenter.prepare(call), None
    expected = proposed(segmenter, [call])[0]
    cached = segmenter.prepare(call)
    assert (first.resized is None, cached.resized is None) == (False, True)
    blank = Pixels(frozen_array(np.zeros_like(call.photo)))
    for prepared in (first, cached):
        assert np.array_equal(proposed(segmenter, [replace(prepared, photo=blank)])[0].masks, expected.masks)


def test_photos_of_batch_are_encoded_once():
    one, other = photo(), photo(333, 200)
    calls = [
        segment_call((150, 100, 1), of=one),
        segment_call((100, 160, 1), of=other),
        segment_call((10, 10, 1), of=one),
    ]
    segmenter = Segmenter(SAM, CPU, MemoryEstimator(CPU), cache_bytes=10_000_000)
    segmenter.segment([segment_call((150, 100, 1), of=photo(60, 60))])
    one_photo = segmenter.embeddings.stats.bytes
    together = proposed(segmenter, calls)
    assert segmenter.embeddings.stats.bytes == 3 * one_photo
    for one_call, found in zip(calls, together, strict=True):
        alone = proposed(Segmenter(SAM, CPU, MemoryEstimator(CPU)), [one_call])[0]
        assert (alone.masks != found.masks).mean() < 1e-4, "a pixel on the outline may differ"
        assert np.allclose(alone.scores, found.scores, atol=1e-4)


@pytest.mark.parametrize("shape", [(200, 300), (61, 47), (500, 1100), (256, 256)])
def test_masks_are_enlarged_as_published(segmenter: Segmenter, shape: tuple[int, int]):
    (found,) = segmenter.segment([segment_call((shape[1] / 2, shape[0] / 2, 1), of=photo(*shape))])
    model = build_sam(SamConfig.from_json(SAM / "config.json"))
    resized = (found.resized.height, found.resized.width)
    published = model.postprocess_masks(torch.from_numpy(found.logits)[None], resized, shape)[0].numpy()
    masks = propose_masks(found).masks
    # Sums in another order: a pixel on the outline, whose logit is 0 but for rounding, may fall on either side.
    assert (np.abs(published[(published > 0) != (masks > 0)]) < 1e-4).all()
    assert set(np.unique(masks)) == {0, 255}
