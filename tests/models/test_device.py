"""Device, precision, and failures of memory as ours."""

from __future__ import annotations

import pytest
import torch

from inpaint_server.errors import OutOfMemory, SettingsError
from inpaint_server.models.device import choose, translate_out_of_memory


def test_on_the_cpu_the_precision_is_float32_unless_asked_for():
    assert choose("cpu", "auto").dtype_name == "float32"
    assert choose("cpu", "bfloat16").dtype_name == "bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_told_with_what_to_do():
    with pytest.raises(SettingsError, match="--gpus all"):
        choose("cuda", "auto")


def test_an_allocators_failure_becomes_ours():
    with pytest.raises(OutOfMemory, match="width"), translate_out_of_memory():
        torch.empty(2**45)


def test_another_failure_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shape"), translate_out_of_memory():
        torch.zeros(2).reshape(3)
