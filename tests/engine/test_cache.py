"""What is kept, how much of it, and that it is not made twice."""

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
def test_never_more_bytes_are_kept_than_allowed(puts: list[tuple[int, int]], limit: int):
    cache: Cache[int, bytes] = Cache(limit, len)
    for key, size in puts:
        cache.put(key, bytes(size))
        assert cache.stats.bytes <= limit


def test_the_value_used_longest_ago_goes_first():
    cache: Cache[str, bytes] = Cache(2, len)
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert cache.get("a") == b"1"
    cache.put("c", b"3")
    assert [cache.get(key) for key in "abc"] == [b"1", None, b"3"]
    assert cache.stats == CacheStats(bytes=2, hits=3, misses=1)


def test_zero_bytes_switch_it_off():
    cache: Cache[str, bytes] = Cache(0, len)
    made: list[str] = []
    for _ in range(2):
        cache.get_or_make("a", lambda: made.append("a") or b"1")
    assert made == ["a", "a"]


def test_a_background_is_painted_once_for_the_same_words_seed_and_settings():
    painter = PlainBackend()
    engine = Engine(painter, queue=2, max_batch=4, background_cache_bytes=1_000_000)
    first = engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    steps = len(painter.batches)
    again = engine.submit(request(), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert len(painter.batches) == 2 * steps - 10, "the background's ten steps are saved"
    assert (again.adverts[0].picture == first.adverts[0].picture).all()
    engine.submit(request(seeds=(2,)), deadline_s=WAIT_S).answer.result(WAIT_S)
    assert len(painter.batches) == 3 * steps - 10, "another seed is another background"
    assert engine.caches()["backgrounds"] == CacheStats(bytes=2 * 64 * 64 * 3, hits=1, misses=2)
    engine.drain()


def test_the_same_photo_and_prompts_are_not_segmented_again():
    painter = PlainBackend()
    engine = Engine(painter, queue=2, max_batch=4, mask_cache_bytes=1_000_000)
    asked = replace(request(), task="mask")
    first, again = (engine.submit(asked, deadline_s=WAIT_S).answer.result(WAIT_S) for _ in range(2))
    assert painter.calls == [("segment", 1)]
    assert first.product is not None
    assert again.product is not None
    assert np.array_equal(first.product.mask, again.product.mask)
    assert first.product.box == again.product.box
    assert first.proposals is again.proposals
    pointed = replace(asked, points=(Point(x=1, y=2, label=1),))
    engine.submit(pointed, deadline_s=WAIT_S).answer.result(WAIT_S)
    assert painter.calls == [("segment", 1)] * 2
    assert engine.caches()["masks"] == CacheStats(bytes=2 * 4 * 90 * 60, hits=1, misses=2)
    engine.drain()
