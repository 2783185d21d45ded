"""A stand-in for CUDA graphs on the CPU: operations are recorded once, and replayed on the tensors of the recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RecordedCalls:
    """Captures by recording.

    As with a graph, a replay runs no Python of the call, reads and writes the addresses of its first run, and sees what
    these hold by then. What is not written to a tensor from outside the call is overwritten afterwards, as another
    graph of the same pool would do. To read a value back is refused.

    Attributes:
        pool_bytes: Of the intermediate tensors of the largest recording.
        captured: How many calls were captured.
        replayed: How many replays there were.
        released: How often the pool was released.
        error: Raised by the next captures, if set.
    """

    def __init__(self) -> None:
        self.pool_bytes = 0
        self.captured = 0
        self.replayed = 0
        self.released = 0
        self.error: Exception | None = None

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        call()
        if self.error is not None:
            raise self.error
        with _Recording() as recording:
            call()
        recording.overwrite()
        self.captured += 1
        self.pool_bytes = max(self.pool_bytes, recording.bytes)

        def replay() -> None:
            self.replayed += 1
            recording.replay()
            recording.overwrite()

        return replay

    def release(self) -> None:
        self.pool_bytes = 0
        self.released += 1


_READ_BACK = {torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._own: dict[int, Tensor] = {}

    @property
    def bytes(self) -> int:
        return sum(one.untyped_storage().nbytes() for one in self._own.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _READ_BACK:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        given = {_address(one) for one in _tensors((args, kwargs))}
        results = _tensors(result)
        self._own.update((_address(one), one) for one in results if _address(one) not in given)
        self._operations.append((func, args, kwargs or {}, results))
        return result

    def replay(self) -> None:
        for func, args, kwargs, results in self._operations:
            for recorded, new in zip(results, _tensors(func(*args, **kwargs)), strict=True):
                if _address(recorded) != _address(new):  # else it is a view, or was changed in place
                    recorded.copy_(new)

    def overwrite(self) -> None:
        for one in self._own.values():
            if one.is_floating_point():
                one.fill_(torch.nan)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
