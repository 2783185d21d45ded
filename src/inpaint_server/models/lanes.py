"""Two threads that share a CPU's cores and one model's weights, each with half of a call's rows.

One call of a small model leaves a core idle between its many short operations: the next one begins when all threads are
done with the last. Two calls side by side do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from typing import Final

import torch
from torch import Tensor

_LANES: Final = 2

Function = Callable[..., tuple[Tensor, ...]]
"""Tensors of N rows each to tensors of N rows each; two threads may call it at once."""


class Lanes:
    """Makes calls of several rows in two halves at once.

    Args:
        cores: Threads that both lanes have together; with one there is nothing to share.
    """

    def __init__(self, cores: int) -> None:
        self._pool = ThreadPoolExecutor(_LANES, "lane") if cores >= _LANES else None
        if self._pool is not None:
            self._give_threads(self._pool, cores)

    def run(self, function: Function, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The results of a call, of all rows.

        Args:
            function: What to call.
            inputs: N rows each.
        """
        rows = len(inputs[0])
        if self._pool is None or rows < _LANES:
            return function(*inputs)

        def infer(*part: Tensor) -> tuple[Tensor, ...]:
            with torch.inference_mode():  # each thread has a mode of its own
                return function(*part)

        half = (rows + 1) // _LANES
        parts = zip(*(one.split(half) for one in inputs), strict=True)
        halves = [self._pool.submit(infer, *part) for part in parts]
        wait(halves)  # also where one failed: the other still uses the inputs
        return tuple(torch.cat(results) for results in zip(*(one.result() for one in halves), strict=True))

    @staticmethod
    def _give_threads(pool: ThreadPoolExecutor, cores: int) -> None:
        """Limit each lane's own threads. torch also takes the last limit for threads to come, so that is set back."""
        both = Barrier(_LANES)

        def limit() -> None:
            torch.set_num_threads(cores // _LANES)
            both.wait()

        wait([pool.submit(limit) for _ in range(_LANES)])
        torch.set_num_threads(cores)
