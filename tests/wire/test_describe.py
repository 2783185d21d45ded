"""What a picture that is answered alone says in its header."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inpaint_server.domain.results import Advert, Answer, ModelCard, Safety, Timings
from inpaint_server.wire.decode import ParsedRequest
from inpaint_server.wire.describe import CompletedRequest, describe_first
from testing.pictures import noise
from testing.requests import resolved


def described(*warnings: str, safety: Safety | None = None) -> dict[str, Any]:
    advert = Advert(picture=noise(64, 64), seed=7, warnings=warnings, safety=safety)
    parsed = ParsedRequest(
        request=resolved(None, task="background", background_prompt="sea"),
        output_format="png",
        return_layers=False,
        fields={},
    )
    completed = CompletedRequest(
        parsed=parsed,
        answer=Answer(adverts=(advert,), product=None, proposals=None, timings=Timings(passes=(12345.6,) * 8)),
        card=ModelCard(bundle="plain", device="cpu", dtype="uint8", attention="none"),
        request_id="r",
        decode_ms=1.0,
        provenance="full",
        sign=None,
    )
    text = describe_first(completed, 1.0)
    assert len(text) <= 1024
    assert text.isascii()
    return json.loads(text)


def test_safety_and_warnings_are_beside_picture():
    verdict = Safety(refused_seeds=(7, 8), withheld=True)
    attributes = described("The photo cuts the product off.", safety=verdict)
    assert attributes["seed"] == 7
    assert attributes["safety"] == {"refused_seeds": [7, 8], "withheld": True}
    assert attributes["warnings"] == ["The photo cuts the product off."]
    assert "timings_ms" in attributes


@pytest.mark.parametrize("character", ["x", "\u00fc", "\U0001f600", "\n", '"'])
def test_warnings_that_do_not_fit_are_counted(character: str):
    warnings = described("Short.", *(character * 400 + str(n) for n in range(20)))["warnings"]
    assert warnings[0] == "Short."
    assert warnings[-1] == f"{21 - len(warnings[:-1])} more, in a JSON answer."
