"""Counts what a device and its host have to do, on the CPU.

torch's `meta` device is the stand-in for an accelerator: it computes shapes but no values, so whatever would read a
value back, and so wait for the device, raises an error there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """Counts torch's operations within `with`.

    Attributes:
        all: How many, views included.
        kernels: How many compute or copy something, on the device or on the host.
        copied_in: How many of them copy from the host to another device.
        fails_at: The number of the operation that runs out of memory, counted from 1 over all of them; 0: none does.
    """

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__()
        self.all = self.kernels = self.copied_in = 0
        self.fails_at = fails_at

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.all += 1
        if self.all == self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        given = _tensors((args, kwargs))
        result = func(*args, **(kwargs or {}))
        made = [one for one in _tensors(result) if _storage(one) not in {_storage(other) for other in given}]
        self.kernels += bool(made) or func._schema.is_mutable
        self.copied_in += any(one.device.type == "cpu" for one in given) and any(
            one.device.type != "cpu" for one in _tensors(result)
        )
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    """The identity of a tensor's storage, which views share with their base."""
    return tensor.untyped_storage()._cdata
