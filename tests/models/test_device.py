"""The choice of device and precision, and the translation of device errors."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inpaint_server.errors import DeviceFailed, OutOfMemory, SettingsError
from inpaint_server.models.device import RunAhead, choose, translate_out_of_memory


def test_precision_on_cpu():
    assert choose("cpu", "auto").dtype_name == "float32"
    assert choose("cpu", "bfloat16").dtype_name == "bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_device_is_settings_error():
    with pytest.raises(SettingsError, match="--gpus all"):
        choose("cuda", "auto")


def test_allocation_failure_becomes_out_of_memory():
    with pytest.raises(OutOfMemory, match="width"), translate_out_of_memory():
        torch.empty(2**45)


def test_other_runtime_error_is_not_translated():
    with pytest.raises(RuntimeError, match="shape"), translate_out_of_memory():
        torch.zeros(2).reshape(3)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_sticky_cuda_error_is_device_failure(error: RuntimeError):
    with pytest.raises(DeviceFailed), translate_out_of_memory():
        raise error


def test_host_runs_two_steps_ahead_of_device_and_no_more():
    queued = itertools.count()
    waited_for: list[int] = []

    def mark() -> Any:
        number = next(queued)
        return SimpleNamespace(synchronize=lambda: waited_for.append(number))

    run_ahead = RunAhead(choose("cpu", "float32"), steps=2, mark=mark)
    seen: list[list[int]] = []
    for _ in range(4):
        run_ahead.step_queued()
        seen.append(list(waited_for))
    assert seen == [[], [], [0], [0, 1]]
