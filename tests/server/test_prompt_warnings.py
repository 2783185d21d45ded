"""A prompt that is longer than the text encoders read is used as far as they do, and a warning names the rest."""

from __future__ import annotations

import pytest

from testing.plain_server import PlainServer

TEN = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize("field", ["background_prompt", "negative_prompt"])
def test_warning_names_first_word_not_used(field: str):
    with PlainServer() as server:
        request = {"task": "background", "background_prompt": "sea", "num_images": 2}
        fits = server.invoke({**request, field: TEN}).json()
        long = server.invoke({**request, field: f"{TEN} lighthouse, dusk"}).json()
    assert fits["warnings"] == []
    (warning,) = long["warnings"]
    assert "`one two three four five six seven eight`" in warning
    assert "from `lighthouse,` on" in warning
