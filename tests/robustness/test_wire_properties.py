"""What holds for every request there can be, on the whole application."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from testing.plain_app import Plain, plain
from testing.traffic import ATTRIBUTES, advert, as_json, photo

SOME = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SIDES = st.sampled_from([64, 72, 128, 160])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
WISHES = st.fixed_dictionaries(
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
def app() -> Iterator[Plain]:
    with plain() as loaded:
        yield loaded


def well_formed_error(answer: Any) -> bool:
    error = answer.json()["error"]
    return (
        bool(error["code"]) and error["message"].endswith(".") and error["request_id"] == answer.headers["x-request-id"]
    )


@SOME
@given(wishes=WISHES)
def test_a_valid_request_is_answered_with_its_own_seeds_and_size(app: Plain, wishes: dict[str, Any]):
    answer = app.invoke(json.loads(advert(1).body) | wishes).json()
    first, number = wishes["seed"], wishes.get("num_images", 1)
    assert [image["seed"] for image in answer["images"]] == [(first + i) % 2**32 for i in range(number)]
    assert (answer["width"], answer["height"]) == (wishes["width"], wishes["height"])
    assert answer["format"] == wishes.get("output_format", "png")
    assert all(("layers" in image) == wishes.get("return_layers", False) for image in answer["images"])


@SOME
@given(wishes=WISHES)
def test_the_fields_mean_the_same_in_a_header_as_in_json(app: Plain, wishes: dict[str, Any]):
    fields = {"background_prompt": "beach", "foreground_prompt": "sand"} | wishes
    as_object = app.invoke(json.loads(advert(1).body) | {"image": None} | fields | {"image": _b64(photo())})
    headers = {"content-type": "image/png", ATTRIBUTES: json.dumps(fields)}
    as_picture = app.client.post("/invocations", content=photo(), headers=headers)
    assert as_picture.json()["images"] == as_object.json()["images"]


@SOME
@given(
    body=st.binary(max_size=300), kind=st.sampled_from(["application/json", "image/png", "application/x-npy", "x/y"])
)
def test_bytes_that_are_no_request_are_refused_in_one_sentence(app: Plain, body: bytes, kind: str):
    answer = app.invoke(body, content_type=kind)
    assert answer.status_code in {400, 413, 415}
    assert well_formed_error(answer)


@SOME
@given(value=JSON_VALUES, name=st.sampled_from(sorted(json.loads(advert(1).body))) | st.text(max_size=12))
def test_any_value_of_any_field_is_understood_or_refused_by_name(app: Plain, value: Any, name: str):
    answer = app.client.post(
        "/invocations",
        content=json.dumps(json.loads(advert(1).body) | {name: value}).encode(),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in {200, 400, 413}
    assert answer.status_code == 200 or well_formed_error(answer)


@SOME
@given(good=st.lists(st.booleans(), min_size=1, max_size=8))
def test_each_line_gets_its_own_answer_in_its_place(app: Plain, good: list[bool]):
    sent = [advert(number).body if fine else as_json({"seed": number}) for number, fine in enumerate(good)]
    answer = app.invoke(b"\n".join(sent), content_type="application/jsonlines", accept="application/jsonlines")
    told = [json.loads(line) for line in answer.content.splitlines()]
    seeds = [one["images"][0]["seed"] if "images" in one else None for one in told]
    assert seeds == [number if fine else None for number, fine in enumerate(good)]


@SOME
@given(accept=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_whatever_is_accepted_is_answered_in_that_type_or_refused(app: Plain, accept: str):
    answer = app.client.post(
        "/invocations", content=advert(1).body, headers={"content-type": "application/json", "accept": accept}
    )
    assert answer.status_code in {200, 406}
    if answer.headers["content-type"].startswith("image/"):
        assert Image.open(io.BytesIO(answer.content)).size == (64, 64)


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()
