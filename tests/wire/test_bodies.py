"""Bodies of every media type: what becomes of their pictures."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.errors import InvalidRequest, TooLarge
from inpaint_server.wire.decode import Limits, RequestReader

PROMPTS = {"background_prompt": "a beach", "foreground_prompt": "sand"}
WHITE = [[255] * 16] * 16


@pytest.fixture
def reader() -> RequestReader:
    limits = Limits(max_body_bytes=100_000, max_pixels=1024, max_canvas_pixels=10_000)
    return RequestReader(limits, BundleDefaults(size=Size(height=64, width=64)))


def png(width: int = 16, height: int = 16) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 90, 90)).save(file, "PNG")
    return file.getvalue()


def npy(height: int, width: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((height, width, 3), np.uint8))
    return file.getvalue()


def as_json(**fields: Any) -> bytes:
    return json.dumps({**PROMPTS, **fields}).encode()


def test_nested_mask_beside_nested_image_marks_every_pixel_not_black(reader: RequestReader):
    mask = [[0] * 8 + [1] * 8] * 16
    parsed = reader.read(as_json(image=[[[9, 9, 9]] * 16] * 16, mask=mask), {"content-type": "application/json"})
    assert parsed.nested_lists
    assert parsed.request.mask is not None
    assert parsed.request.mask.tolist() == [[0] * 8 + [255] * 8] * 16


def test_nested_mask_beside_picture_file_is_refused(reader: RequestReader):
    encoded = base64.b64encode(png()).decode()
    attributes = {"content-type": "image/png", "x-amzn-sagemaker-custom-attributes": as_json(mask=WHITE).decode()}
    for body, headers in (
        (as_json(image=encoded, mask=WHITE), {"content-type": "application/json"}),
        (as_json(task="background", mask=WHITE), {"content-type": "application/json"}),
        (png(), attributes),
    ):
        with pytest.raises(InvalidRequest) as refused:
            reader.read(body, headers)
        assert refused.value.field == "mask"


@pytest.mark.parametrize("media_type", ["image/png", "application/x-npy", "application/json"])
def test_pixel_limit_is_one_sentence_for_every_media_type(reader: RequestReader, media_type: str):
    bodies = {
        "image/png": png(40, 30),
        "application/x-npy": npy(30, 40),
        "application/json": as_json(image=np.zeros((30, 40, 3), int).tolist()),
    }
    attributes = json.dumps(PROMPTS)
    headers = {"content-type": media_type, "x-amzn-sagemaker-custom-attributes": attributes}
    with pytest.raises(TooLarge) as refused:
        reader.read(bodies[media_type], headers)
    assert refused.value.field == "image"
    assert refused.value.message.startswith("`image` is 40 x 30 pixels and the limit is 0.001024 megapixels")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"candidates": 3}, "candidates"),
        ({"num_images": 3}, "num_images"),
        ({"num_images": 2, "candidates": 2}, "num_images"),
    ],
)
def test_candidates_count_against_canvas_limit(reader: RequestReader, fields: dict[str, int], field: str):
    encoded = base64.b64encode(png()).decode()
    with pytest.raises(TooLarge, match="num_images x candidates x width x height is") as refused:
        reader.read(as_json(image=encoded, **fields), {"content-type": "application/json"})
    assert refused.value.field == field
    reader.read(as_json(image=encoded, candidates=2), {"content-type": "application/json"})


def test_additional_frames_give_warning(reader: RequestReader):
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    encoded = base64.b64encode(file.getvalue()).decode()
    parsed = reader.read(as_json(image=encoded, mask=encoded), {"content-type": "application/json"})
    assert parsed.warnings == tuple(
        f"`{field}` holds more than one picture: the first was used." for field in ("image", "mask")
    )


def test_header_fields_are_read_as_utf_8(reader: RequestReader):
    attributes = json.dumps({**PROMPTS, "negative_prompt": "Füße 靴"}, ensure_ascii=False)
    # As a server's library hands over a header's bytes.
    headers = {"content-type": "image/png", "x-amzn-sagemaker-custom-attributes": attributes.encode().decode("latin-1")}
    assert reader.read(png(), headers).request.negative_prompt == "Füße 靴"


@pytest.mark.parametrize(
    ("text", "joint"), [("on", True), ("True", True), ("1", True), ("OFF", False), ("false", False), ("0", False)]
)
def test_form_booleans(reader: RequestReader, text: str, *, joint: bool):
    parts = {**PROMPTS, "joint": text, "image": base64.b64encode(png()).decode(), "seed": "", "mask": " "}
    body = b"".join(
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    )
    parsed = reader.read(body + b"--XX--\r\n", {"content-type": "multipart/form-data; boundary=XX"})
    assert parsed.request.joint == joint
