"""Bounded memory of what was made before, keyed by content."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keeps the values used last within a number of bytes. One thread uses it.

    Args:
        max_bytes: Bytes of values kept; 0 keeps nothing.
        size_of: A value's size in bytes.

    Attributes:
        hits: Values that were there.
        misses: Values that had to be made.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._kept: LRUCache[K, V] = LRUCache(max_bytes, getsizeof=size_of)
        self._size_of = size_of
        self.hits = 0
        self.misses = 0

    @property
    def bytes(self) -> int:
        """Bytes of the values kept now."""
        return int(self._kept.currsize)

    def get(self, key: K) -> V | None:
        """The value if it is there."""
        value = self._kept.get(key)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, unless it alone is larger than the whole cache."""
        if self._size_of(value) <= self._kept.maxsize:
            self._kept[key] = value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value, made and kept if it was not there."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value
