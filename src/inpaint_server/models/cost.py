"""What one forward pass costs: operations and peak memory, counted on tensors that hold no data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one forward pass of one model.

    Attributes:
        operations: Floating-point operations; a multiply-add is two.
        weight_bytes: Parameters and buffers.
        activation_bytes: The most that lives at one time besides the weights, inputs excepted.
    """

    operations: int
    weight_bytes: int
    activation_bytes: int


def measure(module: nn.Module, forward: Callable[[], object]) -> Cost:
    """Count one forward pass; on the meta device nothing is computed and nothing allocated.

    Args:
        module: The model, for its weights.
        forward: Calls it.
    """
    with torch.no_grad(), _FusedAttention() as attention, FlopCounterMode(display=False) as flops:
        forward()
    with torch.no_grad(), _FusedAttention(), _LiveBytes() as live:
        forward()
    return Cost(
        operations=flops.get_total_flops() + attention.operations,
        weight_bytes=weight_bytes([module]),
        activation_bytes=live.peak,
    )


def with_peak_bytes(call: Callable[[], R]) -> tuple[R, int]:
    """Make a call on real tensors; its result, and the most bytes that its tensors took at one time."""
    with _LiveBytes() as live:
        result = call()
    return result, live.peak


def weight_bytes(modules: Sequence[nn.Module]) -> int:
    """Bytes of parameters and buffers; those of a module given twice count once."""
    tensors = {id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


class _FusedAttention(TorchFunctionMode):
    """Counts scaled-dot-product attention as the fused kernels do it: no matrix of all queries by all keys in memory.

    Dao et al., FlashAttention, 2022. Without it the meta device falls back to the plain formula, whose matrix of
    scores would dominate the peak and is never there on a GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False), **(kwargs or {}))
        query, key, value = (named[name] for name in ("query", "key", "value"))
        batch_and_heads = query.shape[:-2].numel()
        pairs = query.shape[-2] * key.shape[-2]
        self.operations += 2 * batch_and_heads * pairs * (query.shape[-1] + value.shape[-1])
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


class _LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations allocate, each counted until its last tensor is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and _key(leaf) not in given | self._sizes.keys():
                storage = leaf.untyped_storage()
                self._sizes[_key(leaf)] = storage.nbytes()
                weakref.finalize(storage, self._sizes.pop, _key(leaf), None)
        self.peak = max(self.peak, sum(self._sizes.values()))
        return out


def _key(tensor: Tensor) -> int:
    """The identity of a tensor's storage, which views share with their base."""
    # torch has no public name for a storage's identity
    return tensor.untyped_storage()._cdata  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
