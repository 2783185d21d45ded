"""What a picture's file says about how it was made, and what it keeps to itself."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from inpaint_server.errors import InvalidRequest
from inpaint_server.settings import Provenance, read
from inpaint_server.wire.provenance import read_origin
from testing.pictures import LIMIT
from testing.plain_server import PlainServer
from testing.traffic import advert

FORMATS = pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
SECRET: dict[str, Any] = {
    "background_prompt": "secret beach",
    "layers": [{"region": "around", "prompt": "secret sand", "negative_prompt": "secret people"}],
    "negative_prompt": "secret fog",
}


def picture(fields: dict[str, Any], **settings: Any) -> bytes:
    """The first picture's file, of a server with these settings."""
    with PlainServer(**settings) as server:
        answer = server.invoke(json.loads(advert(1).body) | fields)
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["images"][0]["image"])


@FORMATS
def test_full_provenance_holds_request(form: str):
    origin = read_origin(picture({**SECRET, "output_format": form}, provenance="full"), max_pixels=LIMIT)
    assert "prompts" not in origin
    assert origin["request"]["background_prompt"] == "secret beach"
    assert origin["request"]["layers"] == SECRET["layers"]
    assert origin["request"]["seed"] == 1


@FORMATS
def test_provenance_without_prompts(form: str):
    data = picture({**SECRET, "output_format": form}, provenance="no-prompts")
    origin = read_origin(data, max_pixels=LIMIT)
    assert b"secret" not in data
    assert origin["prompts"] == "left out"
    assert origin["request"]["layers"] == [{"region": "around"}]
    assert origin["request"]["steps"] == 1


@FORMATS
def test_no_provenance(form: str):
    data = picture({**SECRET, "output_format": form}, provenance="none")
    assert b"secret" not in data
    with pytest.raises(InvalidRequest, match="does not say how it was made"):
        read_origin(data, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "no-prompts"),
        ({"log_prompts": True}, "full"),
        ({"log_prompts": True, "provenance": "none"}, "none"),
        ({"provenance": "full"}, "full"),
    ],
)
def test_prompts_hidden_from_log_are_hidden_in_files(settings: dict[str, Any], expected: Provenance):
    assert read(**settings).file_provenance == expected


@FORMATS
@pytest.mark.parametrize("character", ["x", "\u9774", "\U0001f600", "\n"])
def test_long_prompts_fit_every_format(form: str, character: str):
    layers = [{"region": "around", "prompt": character * 2000, "negative_prompt": character * 2000}] * 8
    fields = {"background_prompt": character * 2000, "negative_prompt": character * 2000, "layers": layers}
    origin = read_origin(picture({**fields, "output_format": form}, provenance="full"), max_pixels=LIMIT)
    told = origin["request"]["background_prompt"]
    if form == "jpeg" and character != "x":
        assert origin["prompts"] == "shortened"
        assert told == character * len(told)
        assert len(told) >= 100
    else:
        assert told == fields["background_prompt"]
