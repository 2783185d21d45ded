"""Connected components of a mask, by its rows' runs: linear in the picture, without a loop over pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inpaint_server.errors import InvalidRequest

Ints = NDArray[np.intp]

MOST_RUNS: Final = 4_000_000
"""A mask in more pieces than this is noise; its components would cost gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Horizontal runs of set pixels, in reading order, and which component each belongs to.

    Attributes:
        rows: Row of each run.
        starts: First column.
        stops: Column after the last.
        labels: Component of each run; equal labels are connected.
    """

    rows: Ints
    starts: Ints
    stops: Ints
    labels: Ints

    @property
    def areas(self) -> Ints:
        """Pixels of the component that each run belongs to."""
        return self._total(self.stops - self.starts)

    def areas_of(self, flags: NDArray[np.bool_]) -> Ints:
        """Pixels of each run's component that are set in another picture of the same size."""
        framed = np.pad(flags, ((0, 0), (0, 1)))
        bounds = np.stack((self.starts, self.stops), axis=1) + (self.rows * framed.shape[1])[:, None]
        return self._total(np.add.reduceat(framed.ravel(), bounds.ravel(), dtype=np.intp)[::2])

    def _total(self, amounts: Ints) -> Ints:
        """The sum over each run's component."""
        return np.bincount(self.labels, weights=amounts, minlength=len(self.labels)).astype(np.intp)[self.labels]

    def touching(self, at: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """For each run, whether any run of its component is marked in `at`."""
        return np.isin(self.labels, self.labels[at])


def find_runs(inside: NDArray[np.bool_], *, diagonal: bool) -> Runs:
    """The runs of an H x W boolean array and their components; `diagonal` also joins pixels that share a corner.

    Raises:
        InvalidRequest: there are millions of them.
    """
    framed = np.pad(inside, ((0, 0), (1, 1)))
    turns = np.flatnonzero(framed[:, 1:] != framed[:, :-1])
    if len(turns) > 2 * MOST_RUNS:
        raise InvalidRequest(
            "The mask is noise, not a product: give `points`, a `box` or a clean `mask`.", field="mask"
        )
    # Each row begins and ends outside, so turns alternate: into a run, out of it.
    rows, starts = np.divmod(turns[0::2], framed.shape[1] - 1)
    stops = turns[1::2] - rows * (framed.shape[1] - 1)
    above, below = _neighbours(rows, starts, stops, stride=inside.shape[1] + 2, reach=int(diagonal))
    return Runs(rows=rows, starts=starts, stops=stops, labels=_connect(len(rows), above, below))


def paint_runs(runs: Runs, keep: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """An H x W boolean array of the kept runs."""
    edges: NDArray[Any] = np.zeros((shape[0], shape[1] + 1), np.int8)
    edges[runs.rows[keep], runs.starts[keep]] = 1
    edges[runs.rows[keep], runs.stops[keep]] -= 1
    return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).astype(bool)


def _neighbours(rows: Ints, starts: Ints, stops: Ints, *, stride: int, reach: int) -> tuple[Ints, Ints]:
    """Index pairs of runs that touch across two rows."""
    first_key, last_key = rows * stride + starts, rows * stride + stops
    next_row = (rows + 1) * stride
    low = np.searchsorted(last_key, next_row + starts - reach, side="right")
    high = np.searchsorted(first_key, next_row + stops + reach, side="left")
    counts = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(above)) - np.repeat(np.cumsum(counts) - counts, counts)
    return above, np.repeat(low, counts) + within


def _connect(count: int, first: Ints, second: Ints) -> Ints:
    """Labels of a graph's components: hook larger roots under smaller ones, flatten, go on with what is still apart."""
    labels = np.arange(count)
    while len(first):
        np.minimum.at(labels, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(flat := labels[labels], labels):
            labels = flat
        first, second = labels[first], labels[second]
        apart = first != second
        first, second = first[apart], second[apart]
    return labels
