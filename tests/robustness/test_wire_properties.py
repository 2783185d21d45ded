"""Properties of generated requests, on the whole application."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from testing.plain_server import PlainServer
from testing.traffic import ATTRIBUTES, advert, as_json, photo

EXAMPLES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SIDES = st.sampled_from([64, 72, 128, 160])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**32 - 1), "width": SIDES, "height": SIDES, "steps": st.integers(1, 4)},
    optional={
        "background_prompt": PROMPTS,
        "foreground_prompt": PROMPTS,
        "negative_prompt": PROMPTS,
        "num_images": st.integers(1, 3),
        "placement": st.sampled_from(["random", "centre", "original"])
        | st.fixed_dictionaries({"scale": st.floats(0.01, 16), "x": st.floats(0, 1), "y": st.floats(0, 1)}),
        "guidance_scale": st.floats(0, 50),
        "feather": st.integers(0, 64),
        "shadow": st.floats(0, 1),
        "output_format": st.sampled_from(["png", "jpeg", "webp"]),
        "return_layers": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def plain() -> Iterator[PlainServer]:
    with PlainServer() as running:
        yield running


def is_valid_error(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    return (
        bool(error["code"]) and error["message"].endswith(".") and error["request_id"] == answer.headers["x-request-id"]
    )


@EXAMPLES
@given(fields=FIELDS)
def test_valid_request_gets_own_seeds_and_size(plain: PlainServer, fields: dict[str, Any]):
    answer = plain.invoke(json.loads(advert(1).body) | fields).json()
    first, number = fields["seed"], fields.get("num_images", 1)
    assert [image["seed"] for image in answer["images"]] == [(first + i) % 2**32 for i in range(number)]
    assert (answer["width"], answer["height"]) == (fields["width"], fields["height"])
    assert answer["format"] == fields.get("output_format", "png")
    assert all(("layers" in image) == fields.get("return_layers", False) for image in answer["images"])


@EXAMPLES
@given(fields=FIELDS)
def test_fields_in_header_equal_json(plain: PlainServer, fields: dict[str, Any]):
    fields = {"background_prompt": "beach", "foreground_prompt": "sand"} | fields
    as_object = plain.invoke(json.loads(advert(1).body) | {"image": None} | fields | {"image": _b64(photo())})
    headers = {"content-type": "image/png", ATTRIBUTES: json.dumps(fields)}
    as_picture = plain.client.post("/invocations", content=photo(), headers=headers)
    assert as_picture.json()["images"] == as_object.json()["images"]


@EXAMPLES
@given(
    body=st.binary(max_size=300), kind=st.sampled_from(["application/json", "image/png", "application/x-npy", "x/y"])
)
def test_random_bytes_refused(plain: PlainServer, body: bytes, kind: str):
    answer = plain.invoke(body, content_type=kind)
    assert answer.status_code in {400, 413, 415}
    assert is_valid_error(answer)


@EXAMPLES
@given(value=JSON_VALUES, name=st.sampled_from(sorted(json.loads(advert(1).body))) | st.text(max_size=12))
def test_any_value_of_any_field_valid_or_refused(plain: PlainServer, value: Any, name: str):
    answer = plain.client.post(
        "/invocations",
        content=json.dumps(json.loads(advert(1).body) | {name: value}).encode(),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in {200, 400, 413}
    assert answer.status_code == 200 or is_valid_error(answer)


@EXAMPLES
@given(good=st.lists(st.booleans(), min_size=1, max_size=8))
def test_json_lines_answered_in_order(plain: PlainServer, good: list[bool]):
    sent = [advert(number).body if fine else as_json({"seed": number}) for number, fine in enumerate(good)]
    answer = plain.invoke(b"\n".join(sent), content_type="application/jsonlines", accept="application/jsonlines")
    answers = [json.loads(line) for line in answer.content.splitlines()]
    seeds = [one["images"][0]["seed"] if "images" in one else None for one in answers]
    assert seeds == [number if fine else None for number, fine in enumerate(good)]


@EXAMPLES
@given(accept=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip))
def test_accepted_type_or_406(plain: PlainServer, accept: str):
    answer = plain.client.post(
        "/invocations", content=advert(1).body, headers={"content-type": "application/json", "accept": accept}
    )
    assert answer.status_code in {200, 406}
    if answer.headers["content-type"].startswith("image/"):
        assert Image.open(io.BytesIO(answer.content)).size == (64, 64)


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()
