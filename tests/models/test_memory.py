"""How many rows fit into one model call."""

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
    """Allocates the rows' bytes twice: the sum and the product exist at the same time."""
    return (rows + rows) * 1.0


@pytest.mark.parametrize(
    ("free_bytes", "bytes_a_row", "rows"), [(1000, 100.0, 8), (1000, 300.0, 2), (1000, 900.0, 1), (0, 100.0, 1)]
)
def test_rows_that_fit(free_bytes: int, bytes_a_row: float, rows: int):
    assert rows_that_fit(free_bytes, bytes_a_row) == rows


def test_first_row_is_measured_and_rest_runs_in_fitting_chunks():
    batches: list[int] = []

    def call(rows: Tensor) -> Tensor:
        batches.append(len(rows))
        return doubled(rows)

    # A row of 100 numbers is 400 bytes, and doubling it takes 800: three rows are 2400 of the 3000 that may be taken.
    estimator = MemoryEstimator(CPU, free_bytes=lambda: 3000)
    rows = torch.arange(800.0).reshape(8, 100)
    assert torch.equal(estimator.run_in_chunks("double", rows, call), 2 * rows)
    assert batches == [1, 3, 3, 1]
    assert estimator.max_rows("double", 100) == 3
    assert estimator.max_rows("double", 50) == 6
    assert estimator.max_rows("another", 50) == 1, "what was not measured gets one row"


def test_measuring_changes_no_result():
    layer = torch.nn.Conv2d(4, 8, 3)
    pictures = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    estimator = MemoryEstimator(CPU)
    with torch.inference_mode():
        first, second = (estimator.run_measured("convolve", pictures, layer) for _ in range(2))
    assert torch.equal(first, second)


def test_failed_call_is_freed_while_its_error_is_handled():
    references: list[weakref.ref[Tensor]] = []

    def fails() -> None:
        large = torch.zeros(1000)
        references.append(weakref.ref(large))
        torch.empty(2**45)

    with pytest.raises(OutOfMemory) as raised, translate_out_of_memory():
        fails()
    assert raised.value.message
    assert references[0]() is None, "though the error is still being handled"
