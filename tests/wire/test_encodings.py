"""Base64 in chunks: the same bytes and the same refusals as in one piece."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.encodings import decode_base64, encode_base64

CHUNK = 3 * 2**18


@pytest.mark.parametrize("length", [0, 1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 2])
def test_base64_of_any_length(length: int):
    data = np.random.default_rng(0).bytes(length)
    text = encode_base64(data)
    assert text == base64.b64encode(data).decode()
    assert decode_base64(text, "image") == data
    assert decode_base64(text.rstrip("="), "image") == data


@pytest.mark.parametrize("at", [0, 5, 4 * 2**18 - 1, 4 * 2**18, 4 * 2**18 + 5])
@pytest.mark.parametrize("wrong", ["=", "*", "\u00e9"])
def test_wrong_letter_is_refused_in_any_chunk(at: int, wrong: str):
    text = encode_base64(bytes(CHUNK + 30))
    with pytest.raises(InvalidRequest, match="`image` as base64"):
        decode_base64(text[:at] + wrong + text[at + 1 :], "image")
