"""Prompts to what the UNet is conditioned on: embeddings of every token, and for SDXL of each prompt as a whole.

Stable Diffusion 1 reads prompts with CLIP's text encoder, Stable Diffusion 2 with OpenCLIP's, each by its last layer.
SDXL reads them with both, by the last layer but one, and adds a pooled embedding and the canvas's size (Podell et al.,
SDXL, 2023, sections 2.1 and 2.2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

MAX_CHUNKS: Final = 4
"""Chunks of a prompt that are used: 300 tokens with CLIP, about 200 words."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What a UNet gets beside latents and time steps, one row for each row of its input.

    Attributes:
        prompt_embeds: Rows x tokens x channels.
        pooled: Rows x channels, each prompt as a whole; None where the family has none.
        time_ids: Rows x 6, heights and widths in pixels: of the original, what was cropped from it (top, left), and of
            the canvas; None where the family has none.
    """

    prompt_embeds: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.prompt_embeds)

    def __getitem__(self, rows: slice) -> Conditioning:
        """Some of the rows; views."""
        return Conditioning(*(tensor[rows] for tensor in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those that the family has, in the constructor's order."""
        present = (self.prompt_embeds, self.pooled, self.time_ids)
        return tuple(tensor for tensor in present if tensor is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of the embeddings."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def added(self) -> dict[str, Tensor] | None:
        """The UNet's argument `added_cond_kwargs`."""
        if self.pooled is None or self.time_ids is None:
            return None
        return {"text_embeds": self.pooled, "time_ids": self.time_ids}

    def on_canvas(self, height: int, width: int) -> Conditioning:
        """The same for a canvas of this size in pixels, as if the picture had been taken at that size, uncropped."""
        if self.pooled is None:
            return self
        ids = self.pooled.new_tensor([height, width, 0, 0, height, width]).expand(len(self), -1)
        return Conditioning(self.prompt_embeds, self.pooled, ids)


def concatenated(parts: Sequence[Conditioning]) -> Conditioning:
    """All rows of several, of one family and with as many tokens each."""
    if len(parts) == 1:
        return parts[0]
    return Conditioning(*map(torch.cat, zip(*(part.tensors for part in parts), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextEncoder:
    """One text encoder and its tokenizer."""

    model: CLIPTextModel | CLIPTextModelWithProjection
    tokenizer: CLIPTokenizer

    def encode(self, chunks: Sequence[Sequence[int]], length: int) -> Any:
        """The model's output for chunks of at most `length` tokens, a row each.

        Each has its start and end tokens; what is not filled is padded with this tokenizer's own token.
        """
        tokenizer: Any = self.tokenizer
        rows: list[list[int]] = []
        for chunk in chunks:
            row = [tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id]
            rows.append(row + [tokenizer.pad_token_id] * (length + 2 - len(row)))
        return self.model(torch.tensor(rows, device=self.model.device), output_hidden_states=True)


class PromptEncoder:
    """Reads prompts with a family's text encoders, in chunks where they are longer than the encoders' context.

    Args:
        encoders: One (Stable Diffusion 1 and 2), or CLIP's and OpenCLIP's (SDXL), whose tokens are the same.
        zeros_for_empty: Whether an empty prompt is embedded as zeros instead of being encoded.
    """

    def __init__(self, encoders: Sequence[TextEncoder], *, zeros_for_empty: bool = False) -> None:
        self.encoders = tuple(encoders)
        self._zeros_for_empty = zeros_for_empty
        self._tokenizer = self.encoders[0].tokenizer
        positions = min(encoder.model.config.max_position_embeddings for encoder in self.encoders)
        self.chunk_length: Final[int] = min(self._tokenizer.model_max_length, positions) - 2
        """Tokens that the text encoders take at a time, start and end tokens aside (75 for CLIP)."""

    def chunks(self, text: str) -> int:
        """How many chunks a prompt fills, from 1 to `MAX_CHUNKS`."""
        return min(MAX_CHUNKS, max(1, math.ceil(len(self._tokens(text)) / self.chunk_length)))

    def embed(self, text: str, chunks: int) -> Conditioning:
        """One row: the embeddings of so many chunks, each encoded on its own, one after the other.

        As the common front ends do it. The pooled embedding is the first chunk's.
        """
        tokens, length = self._tokens(text), self.chunk_length
        parts = [tokens[first : first + length] for first in range(0, chunks * length, length)]
        outputs = [encoder.encode(parts, length) for encoder in self.encoders]
        if len(outputs) == 1:
            return Conditioning(_in_a_row(outputs[0].last_hidden_state))
        embeds = torch.cat([_in_a_row(output.hidden_states[-2]) for output in outputs], dim=-1)
        pooled = outputs[-1].text_embeds[:1]
        if self._zeros_for_empty and not text:
            return Conditioning(torch.zeros_like(embeds), torch.zeros_like(pooled))
        return Conditioning(embeds, pooled)

    def first_unused_word(self, text: str) -> str | None:
        """The word of a prompt from which on it is not used, since it is longer than `MAX_CHUNKS`; None: all is used.

        Any thread may call it.
        """
        offsets = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        used = MAX_CHUNKS * self.chunk_length
        if len(offsets) <= used:
            return None
        begin = offsets[used][0]
        return next(word.group() for word in re.finditer(r"\S+", text) if word.end() > begin)

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False).input_ids


def _in_a_row(chunks: Tensor) -> Tensor:
    """Chunks x tokens x channels to 1 x (chunks tokens) x channels."""
    return chunks.reshape(1, -1, chunks.shape[-1])
