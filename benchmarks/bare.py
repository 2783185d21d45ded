"""The bare model calls of a request: recorded while it runs, replayed with nothing around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

_MODELS: Final = {
    "UNet2DConditionModel": "unet",
    "CLIPTextModel": "text encoder",
    "Encoder": "vae encoder",
    "EncoderTiny": "vae encoder",
    "Decoder": "vae decoder",
    "DecoderTiny": "vae decoder",
    "ImageEncoderViT": "segmenter",
    "PromptEncoder": "segmenter's prompts",
    "MaskDecoder": "segmenter's decoder",
}
"""Classes whose forwards are the work that an advert is made of, and what they are called here."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One forward of one model with the tensors it was given."""

    model: nn.Module
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def kind(self) -> str:
        """Which model, in words."""
        return _MODELS[type(self.model).__name__]

    @property
    def rows(self) -> int:
        """Pictures (with guidance, twice as many) in the call: what the literature counts as evaluations."""
        return len(self.arguments[0]) if self.arguments else 1

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of every tensor it was given."""
        given = (*self.arguments, *self.named.values())
        return tuple(tensor.shape for tensor in given if isinstance(tensor, torch.Tensor))

    def again(self) -> object:
        """Make the same call."""
        return self.model(*self.arguments, **self.named)


def recorded(work: Callable[[], object]) -> list[Call]:
    """Every call of a model while `work` runs, on whichever thread."""
    calls: list[Call] = []

    def note(model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], _: object) -> None:
        if type(model).__name__ in _MODELS:
            calls.append(Call(model=model, arguments=arguments, named=named))

    hook = register_module_forward_hook(note, with_kwargs=True)
    try:
        work()
    finally:
        hook.remove()
    return calls


@torch.inference_mode()
def replay(calls: list[Call]) -> None:
    """The same calls, one after the other, to their end."""
    for call in calls:
        call.again()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def evaluations(calls: list[Call]) -> int:
    """Rows that went through a UNet."""
    return sum(call.rows for call in calls if call.kind == "unet")
