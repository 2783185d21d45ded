"""How a call is captured, so that it can be replayed: as a CUDA graph, in one memory pool with all others."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from inpaint_server.models.device import Device


class Capture(Protocol):
    """Captures calls; `CudaCapture` does it on a device, and tests have a stand-in for the CPU."""

    @property
    def pool_bytes(self) -> int:
        """Memory that the captured calls' intermediate tensors take, and nothing else can."""
        ...

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Make a call and capture it; the result replays it on the same tensors."""
        ...

    def release(self) -> None:
        """Return the pool's memory; called when no captured call is left."""
        ...


class CudaCapture:
    """Captures into CUDA graphs of one memory pool, on one stream (the pool's memory is reused only on its stream)."""

    def __init__(self) -> None:
        self._stream: Any = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self.pool_bytes = 0

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Make the call once, so that kernels are chosen and workspaces allocated, and capture it the second time."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            call()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        reserved = torch.cuda.memory_reserved()
        graph = torch.cuda.CUDAGraph()
        try:
            with _no_garbage_collection(), torch.cuda.stream(self._stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    call()
                finally:
                    graph.capture_end()
        finally:
            self.pool_bytes += torch.cuda.memory_reserved() - reserved
        return graph.replay

    def release(self) -> None:
        """Free the pool. Its handle cannot be used again: the next capture gets another."""
        gc.collect()
        torch.cuda.empty_cache()
        self._pool = torch.cuda.graph_pool_handle()
        self.pool_bytes = 0


def capture_for(device: Device) -> Capture | None:
    """How calls are captured on a device; None where they cannot be."""
    return CudaCapture() if device.torch_device.type == "cuda" else None


@contextmanager
def _no_garbage_collection() -> Generator[None]:
    """During a capture nothing may be freed on the device, and a collector may find something to free at any time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
