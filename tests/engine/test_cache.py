"""The cache, and the engine's use of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inpaint_server.cache import Cache, CacheStats
from inpaint_server.domain.geometry import Point
from inpaint_server.engine.engine import Engine
from testing.plain_backend import PlainBackend
from tests.engine.test_engine import WAIT_S, request


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40))), st.integers(0, 100))
def test_cache_stays_within_its_bytes(puts: list[tuple[int, int]], limit: int):
    cache: Cache[int, bytes] = Cache(limit, len)
    for key, size in puts:
        cache.put(key, bytes(size))
        assert cache.stats.bytes <= limit


def test_least_recently_used_value_is_dropped_first():
    cache: Cache[str, bytes] = Cache(2, len)
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert cache.get("a") == b"1"
    cache.put("c", b"3")
    assert [cache.get(key) for key in "abc"] == [b"1", None, b"3"]
    assert cache.stats == CacheStats(bytes=2, hits=3, misses=1)


def test_zero_bytes_disable_cache():
    cache: Cache[str, bytes] = Cache(0, len)
    computed: list[str] = []
    for _ in range(2):
        cache.get_or_compute("a", lambda: computed.append("a") or b"1")
    assert computed == ["a", "a"]


def test_equal_background_is_generated_once():
    backend = PlainBackend()
    engine = Engine(backend, queue=2, max_batch=4, background_cache_bytes=1_000_000)
    first = engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    steps = len(backend.batches)
    again = engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert len(backend.batches) == 2 * steps - 10, "the background's ten steps are saved"
    assert (again.adverts[0].picture == first.adverts[0].picture).all()
    engine.submit(request(seeds=(2,)), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert len(backend.batches) == 3 * steps - 10, "another seed is another background"
    assert engine.caches()["backgrounds"] == CacheStats(bytes=2 * 64 * 64 * 3, hits=1, misses=2)
    engine.drain()


def test_equal_photo_and_points_are_segmented_once():
    backend = PlainBackend()
    engine = Engine(backend, queue=2, max_batch=4, mask_cache_bytes=1_000_000)
    mask_request = replace(request(), task="mask")
    first, again = (engine.submit(mask_request, deadline_s=WAIT_S).answer.result(WAIT_S) for _ in range(2))
    assert backend.calls == [("segment", 1)]
    assert first.product is not None
    assert again.product is not None
    assert np.array_equal(first.product.mask, again.product.mask)
    assert first.product.box == again.product.box
    assert first.proposals is again.proposals
    pointed = replace(mask_request, points=(Point(x=1, y=2, label=1),))
    engine.submit(pointed, deadline_s=WAIT_S).answer.result(WAIT_S)
    assert backend.calls == [("segment", 1)] * 2
    assert engine.caches()["masks"] == CacheStats(bytes=2 * 4 * 90 * 60, hits=1, misses=2)
    engine.drain()
