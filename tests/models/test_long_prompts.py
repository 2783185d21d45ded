"""Prompts beyond the text encoder's context: encoded in chunks, and what is still lost is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inpaint_server.domain.calls import Generate
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.prompts import MAX_CHUNKS
from testing.passes import run_passes

SHORT = Generate(
    prompt="a wooden table",
    negative_prompt="grass",
    size=Size(height=64, width=64),
    sampling=Sampling(steps=3, guidance_scale=4.0, scheduler="ddim"),
    noise_seed=1,
)
FILLED = ", ".join(["sand"] * 40)
"""79 tokens: three chunks of the demo models' text encoder."""


def test_long_prompt_is_its_chunks_in_row(backend: TorchBackend):
    prompts = backend.text_to_image.prompts
    tokenizer = prompts.encoders[0].tokenizer
    ids = tokenizer(FILLED, add_special_tokens=False).input_ids
    length = prompts.chunk_length
    assert (length, len(ids), prompts.chunks(FILLED)) == (30, 79, 3)
    embeds = prompts.embed(FILLED, 3).prompt_embeds
    for number in range(3):
        text = str(tokenizer.decode(ids[number * length : (number + 1) * length]))
        part = prompts.embed(text, 1).prompt_embeds
        torch.testing.assert_close(embeds[:, number * 32 : (number + 1) * 32], part)


def test_words_beyond_first_chunk_count(backend: TorchBackend):
    long = replace(SHORT, prompt=f"{FILLED}, dark night sky")
    plain, other = run_passes(backend, replace(SHORT, prompt=FILLED), long)
    assert np.abs(plain.astype(int) - other).max() > 10


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_positive_and_negative_prompt_have_as_many_chunks(backend: TorchBackend, field: str):
    (state,) = backend.begin([replace(SHORT, **{field: FILLED})])
    assert state.conditioning.prompt_embeds.shape[:2] == (2, 3 * 32)


def test_pictures_of_long_and_short_prompts_do_not_depend_on_each_other(backend: TorchBackend):
    """Within 1/255, since kernels round by batch size."""
    calls = [SHORT, replace(SHORT, prompt=FILLED), replace(SHORT, noise_seed=2), replace(SHORT, negative_prompt=FILLED)]
    for call, picture in zip(calls, run_passes(backend, *calls), strict=True):
        assert np.abs(run_passes(backend, call)[0].astype(int) - picture).max() <= 1


def test_first_word_that_is_lost(backend: TorchBackend):
    room = MAX_CHUNKS * 30
    fitting = "sand " * room
    assert backend.first_unused_word(fitting) is None
    assert backend.first_unused_word(f"{fitting}Lighthouse, sky") == "Lighthouse,"
    assert backend.first_unused_word("sand " * (room - 1) + "lighthouses afterglow") is not None
    assert run_passes(backend, replace(SHORT, prompt=f"{fitting}sky"))[0].shape == (64, 64, 3)
