"""How many pictures a model call holds."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from inpaint_server.errors import OutOfMemory
from inpaint_server.models.device import choose, translate_out_of_memory
from inpaint_server.models.memory import MemoryEstimator, rows_that_fit

CPU = choose("cpu", "float32")


def doubled(rows: Tensor) -> Tensor:
    """Takes the rows' bytes twice over: the sum and the product are there together."""
    return (rows + rows) * 1.0


@pytest.mark.parametrize(
    ("free_bytes", "bytes_a_row", "rows"), [(1000, 100.0, 8), (1000, 300.0, 2), (1000, 900.0, 1), (0, 100.0, 1)]
)
def test_four_fifths_of_what_is_free_may_be_taken_and_one_is_always_tried(
    free_bytes: int, bytes_a_row: float, rows: int
):
    assert rows_that_fit(free_bytes, bytes_a_row) == rows


def test_the_first_row_is_measured_and_the_others_go_in_parts_that_fit():
    seen: list[int] = []

    def call(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return doubled(rows)

    # A row of 100 numbers is 400 bytes, and doubling it takes 800: three rows are 2400 of the 3000 that may be taken.
    gauge = MemoryEstimator(CPU, free_bytes=lambda: 3000)
    rows = torch.arange(800.0).reshape(8, 100)
    assert torch.equal(gauge.in_parts("double", rows, call), 2 * rows)
    assert seen == [1, 3, 3, 1]
    assert gauge.max_rows("double", 100) == 3
    assert gauge.max_rows("double", 50) == 6
    assert gauge.max_rows("another", 50) == 1, "what was not measured is tried with one"


def test_a_call_that_is_counted_gives_the_same_numbers():
    layer = torch.nn.Conv2d(4, 8, 3)
    pictures = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    gauge = MemoryEstimator(CPU)
    with torch.inference_mode():
        counted, plain = (gauge.measured("convolve", pictures, layer) for _ in range(2))
    assert torch.equal(counted, plain)


def test_what_a_failed_call_held_is_free_before_a_smaller_one_is_tried():
    held: list[weakref.ref[Tensor]] = []

    def fails() -> None:
        large = torch.zeros(1000)
        held.append(weakref.ref(large))
        torch.empty(2**45)

    with pytest.raises(OutOfMemory) as told, translate_out_of_memory():
        fails()
    assert told.value.message
    assert held[0]() is None, "though the error is still being handled"
