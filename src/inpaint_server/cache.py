"""A cache of results, bounded in bytes and keyed by content."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from inpaint_server.domain.arrays import UInt8Array

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Statistics of a cache since the start.

    Attributes:
        bytes: Bytes of the values kept now.
        hits: Values that were found.
        misses: Values that were not there.
    """

    bytes: int
    hits: int
    misses: int


def content_key(picture: UInt8Array) -> bytes:
    """A key that only a picture with the same pixels and shape has."""
    return hashlib.blake2b(picture.data, key=repr(picture.shape).encode(), digest_size=16).digest()


class Cache(Generic[K, V]):
    """Keeps the most recently used values within a number of bytes. Any thread may use it.

    Args:
        max_bytes: Bytes of values kept; 0 keeps nothing.
        size_of: A value's size in bytes.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._values: LRUCache[K, V] = LRUCache(max_bytes, getsizeof=size_of)
        self._size_of = size_of
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0

    @property
    def stats(self) -> CacheStats:
        """Bytes kept now, hits and misses so far."""
        with self._lock:
            return CacheStats(bytes=int(self._values.currsize), hits=self._hits, misses=self._misses)

    def get(self, key: K) -> V | None:
        """The value, or None where it is not there."""
        with self._lock:
            value = self._values.get(key)
            if value is None:
                self._misses += 1
            else:
                self._hits += 1
            return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, unless it alone is larger than the whole cache."""
        size = self._size_of(value)
        with self._lock:
            if size <= self._values.maxsize:
                self._values[key] = value

    def get_or_compute(self, key: K, compute: Callable[[], V]) -> V:
        """The value; computed and put into the cache where it is not there."""
        value = self.get(key)
        if value is None:
            value = compute()
            self.put(key, value)
        return value
