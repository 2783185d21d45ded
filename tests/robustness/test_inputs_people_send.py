"""What people and their libraries send, through both doors: answered, or refused with the sentence that helps."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

from testing.pictures import file
from testing.plain_server import wait_until
from testing.running import Reply, Server
from testing.traffic import ATTRIBUTES, SMALL, photo

DIRECT = """
from inpaint_server import settings
from inpaint_server.server import process
from testing.plain_engine import load
raise SystemExit(process.run(settings.read(), loading=load))
"""
PHOTO = photo()
PICTURE = Image.open(io.BytesIO(PHOTO))
FIELDS: dict[str, Any] = {**SMALL, "seed": 7}
GOOD: dict[str, Any] = {**FIELDS, "image": base64.b64encode(PHOTO).decode()}
NESTED: list[Any] = np.asarray(PICTURE).tolist()

Check = Callable[[Reply, Reply], None]
"""Of an answer, and of the answer to the same request as the documentation writes it."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One input: what is sent, and what must come back."""

    body: bytes
    answer: Check
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def as_documented(reply: Reply, documented: Reply) -> None:
    assert reply.status == 200, reply.body[:400]
    assert reply.json["images"] == documented.json["images"]


def answered(*warnings: str, size: tuple[int, int] = (64, 64)) -> Check:
    def check(reply: Reply, _: Reply) -> None:
        assert reply.status == 200, reply.body[:400]
        assert (reply.json["width"], reply.json["height"]) == size
        assert [one for one in reply.json["warnings"] if one.startswith("`")] == list(warnings)

    return check


def nested(reply: Reply, _: Reply) -> None:
    """The replaced sample's form: generated, background, mask and composite."""
    assert reply.status == 200, reply.body[:400]
    assert [np.asarray(one).shape[:2] for one in reply.json] == [(64, 64)] * 4


def refused(status: int, *parts: str, field: str | None = None) -> Check:
    def check(reply: Reply, _: Reply) -> None:
        assert reply.status == status, reply.body[:400]
        error = reply.json["error"]
        assert [part for part in parts if part not in error["message"]] == [], error["message"]
        assert error.get("field") == field

    return check


def picture_with(warning: str) -> Check:
    def check(reply: Reply, _: Reply) -> None:
        assert (reply.status, reply.headers["content-type"]) == (200, "image/png"), reply.body[:400]
        assert warning in json.loads(reply.headers[ATTRIBUTES.lower()])["warnings"]
        assert len(reply.headers[ATTRIBUTES.lower()]) <= 1024

    return check


def array_of(*shape: int) -> Check:
    def check(reply: Reply, _: Reply) -> None:
        assert (reply.status, reply.headers["content-type"]) == (200, "application/x-npy"), reply.body[:400]
        array = np.load(io.BytesIO(reply.body), allow_pickle=False)
        assert (array.shape, array.dtype) == (shape, np.uint8)

    return check


def mask_of_array(reply: Reply, _: Reply) -> None:
    """The replaced sample's form: three proposals."""
    assert reply.status == 200, reply.body[:400]
    assert np.asarray(reply.json).shape == (90, 60, 3)


def first_line(reply: Reply, documented: Reply) -> None:
    assert (reply.status, reply.headers["content-type"]) == (200, "application/jsonlines")
    assert [json.loads(line)["images"] for line in reply.body.splitlines()] == [documented.json["images"]] * 2


def changed(answer: Check = as_documented, /, **fields: Any) -> Sent:
    """The documented request with other fields."""
    return Sent(body=json.dumps({**GOOD, **fields}).encode(), answer=answer)


def encoded(data: bytes, answer: Check) -> Sent:
    return changed(answer, image=base64.b64encode(data).decode())


def typed(content_type: str | None, body: bytes, answer: Check = as_documented, **headers: str) -> Sent:
    """A body of a type, with the fields in the header where it is a photo."""
    named = {} if content_type is None else {"Content-Type": content_type}
    attributes = {ATTRIBUTES: json.dumps(FIELDS)}
    others = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent(body=body, answer=answer, headers={**attributes, **named, **others})


def form(answer: Check = as_documented, /, **fields: str | bytes) -> Sent:
    parts = b""
    for name, value in {**{name: str(value) for name, value in FIELDS.items()}, "image": PHOTO, **fields}.items():
        a_file = "" if isinstance(value, str) else '; filename="photo.png"\r\nContent-Type: image/png'
        content = value.encode() if isinstance(value, str) else value
        parts += f'--XX\r\nContent-Disposition: form-data; name="{name}"{a_file}\r\n\r\n'.encode() + content + b"\r\n"
    return Sent(body=parts + b"--XX--\r\n", answer=answer, headers={"Content-Type": "multipart/form-data; boundary=XX"})


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def png_with(kind: bytes, content: bytes) -> bytes:
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    at = PHOTO.index(b"IDAT") - 4
    return PHOTO[:at] + chunk + PHOTO[at:]


WRITTEN = json.dumps(GOOD).encode()
BASE64: str = GOOD["image"]
ALPHA = np.asarray(PICTURE)[..., 3]
COLOURS = np.asarray(PICTURE)[..., :3]
TWO = [Image.new("RGB", (60, 90), "red"), Image.new("RGB", (60, 90), "blue")]
SEVERAL = "`image` holds more than one picture: the first was used."
EMOJI = "\U0001f600" * 2000
NOISE = np.random.default_rng(0).bytes(1_300_000)

SPELLINGS: dict[str, Sent] = {
    "null for a field that is left out": changed(mask=None, placement=None, num_images=None, layers=None),
    "null inside a layer": changed(
        answered(), layers=[{"region": "around", "prompt": "sand", "negative_prompt": None, "strength": None}]
    ),
    "whole numbers with a point": changed(seed=7.0, width=64.0, height=64.0, steps=1.0, num_images=1.0),
    "a number in a string": changed(refused(400, "`steps`", "integer", field="steps"), steps="1"),
    "a byte order mark": Sent(body=b"\xef\xbb\xbf" + WRITTEN, answer=as_documented),
    "gzip": typed("application/json", gzip.compress(WRITTEN), content_encoding="gzip"),
    "gzip that inflates beyond the limit": typed(
        "application/json", gzip.compress(bytes(3_000_000)), refused(413, "inflated", "MB"), content_encoding="gzip"
    ),
    "gzip that is cut short": typed(
        "application/json", gzip.compress(WRITTEN)[:-20], refused(400, "whole gzip"), content_encoding="gzip"
    ),
    "brotli": typed("application/json", b"x", refused(415, "Content-Encoding", "gzip"), content_encoding="br"),
    "base64 in the URL's alphabet": changed(image=BASE64.replace("+", "-").replace("/", "_")),
    "base64 without padding": changed(image=base64.b64encode(PHOTO + b"\0").decode().rstrip("=")),
    "base64 in lines": changed(image=base64.encodebytes(PHOTO).decode()),
    "a data URL in capitals": changed(image="DATA:IMAGE/PNG;BASE64," + BASE64),
    "text/json": typed("text/json", WRITTEN),
    "JSON as octets": typed("application/octet-stream", WRITTEN),
    "JSON of no type": typed(None, WRITTEN),
    "a photo as octets": typed("application/octet-stream", PHOTO),
    "a photo as application/x-image": typed("application/x-image", PHOTO),
    "a photo of no type": typed(None, PHOTO),
    "anything else as octets": typed("application/octet-stream", b"hello", refused(415, "Content-Type")),
    "image/jpg": typed("image/jpg", PHOTO),
    "application/x-ndjson": typed("application/x-ndjson", WRITTEN + b"\n" + WRITTEN, first_line),
    "application/x-jsonlines with a mark": typed(
        "application/x-jsonlines", b"\xef\xbb\xbf" + WRITTEN + b"\r\n" + WRITTEN + b"\r\n", first_line
    ),
    "fields in the header in UTF-8": Sent(  # read as Latin-1 the prompt would be too long
        body=PHOTO,
        answer=answered(),
        headers={
            "Content-Type": "image/png",
            ATTRIBUTES: json.dumps({**FIELDS, "negative_prompt": "ß" * 1500}, ensure_ascii=False)
            .encode()
            .decode("latin-1"),
        },
    ),
    "a form": form(),
    "a form with blank fields": form(mask=b"", placement="", num_images="  ", negative_prompt=""),
    "a form with on": form(answered(), return_layers="on"),
    "a form with True": form(answered(), return_layers="True"),
    "a form with 1": form(answered(), joint="1"),
    "a form with off": form(return_layers="off"),
    "a form with base64": form(image=BASE64),
    "nested integers": changed(nested, image=COLOURS.tolist(), mask=ALPHA.tolist()),
    "nested booleans": changed(nested, image=COLOURS.tolist(), mask=(ALPHA > 99).tolist()),
    "nested floats to 1": changed(nested, image=(COLOURS / 255).tolist(), mask=(ALPHA / 255).tolist()),
    "nested floats to 255": changed(nested, image=(COLOURS * 1.0).tolist(), mask=(ALPHA * 1.0).tolist()),
    "nested grey": changed(nested, image=COLOURS[..., 0].tolist(), mask=ALPHA.tolist()),
    "nested with alpha": changed(nested, image=NESTED),
    "nested strings": changed(refused(400, "pixels of `image`", field="image"), image=[[["7"] * 3] * 16] * 16),
    "an array": typed("application/x-npy", npy(COLOURS), mask_of_array),
    "an array of floats": typed("application/x-npy", npy(COLOURS / 255), mask_of_array),
    "an array of grey": typed("application/x-npy", npy(COLOURS[..., 0]), mask_of_array),
    "an array with alpha, as octets": typed("application/octet-stream", npy(np.asarray(PICTURE)), mask_of_array),
    "an array answered as one": typed("application/x-npy", npy(COLOURS), array_of(90, 60), accept="application/x-npy"),
    "a picture answered as an array": typed("image/png", PHOTO, array_of(64, 64, 3), accept="application/x-npy"),
}
PICTURES: dict[str, Sent] = {
    "BMP": encoded(file(PICTURE, "BMP"), answered()),
    "TIFF": encoded(file(PICTURE, "TIFF"), as_documented),
    "GIF": encoded(file(PICTURE, "GIF"), answered()),
    "AVIF": encoded(file(PICTURE, "AVIF"), answered()),
    "a photo named as TIFF": typed("image/tiff", file(PICTURE, "TIFF")),
    "several pictures in a GIF": encoded(file(TWO[0], "GIF", save_all=True, append_images=TWO[1:]), answered(SEVERAL)),
    "a camera's MPO": encoded(file(TWO[0], "MPO", save_all=True, append_images=TWO[1:]), answered(SEVERAL)),
    "a PNG with a large colour profile": encoded(file(PICTURE, icc_profile=NOISE), as_documented),
    "a PNG with large XMP": encoded(
        png_with(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 400_000)), as_documented
    ),
    "a camera's DNG": encoded(
        file(PICTURE, "TIFF", tiffinfo={254: 1, 50706: b"\x01\x04\0\0"}),
        refused(400, "a camera's raw picture", field="image"),
    ),
    "a camera's NEF": encoded(
        file(PICTURE, "TIFF", tiffinfo={254: 1}), refused(400, "a camera's raw picture", field="image")
    ),
    "HEIC": encoded(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", refused(400, "a HEIC picture", field="image")),
    "a PDF": encoded(b"%PDF-1.7", refused(400, "a PDF document", "PNG, JPEG, WebP", field="image")),
    "base64 twice": encoded(BASE64.encode(), refused(400, "base64 of base64", field="image")),
}
NAMES: dict[str, Sent] = {
    name: changed(refused(400, f"`{name}` is called `{ours}` here.", field=name), **{name: 1})
    for name, ours in {
        "prompt": "background_prompt",
        "mask_image": "mask",
        "num_inference_steps": "steps",
        "strength": "background_strength",
        "inputs": "background_prompt",
        "init_image": "image",
        "n": "num_images",
        "num_images_per_prompt": "num_images",
        "cfg_scale": "guidance_scale",
        "sampler": "scheduler",
        "numImages": "num_images",
    }.items()
}
ANSWERS: dict[str, Sent] = {
    "two pictures as one": typed(
        "application/json",
        json.dumps({**GOOD, "num_images": 2}).encode(),
        refused(406, "application/zip", "application/json", "`num_images`", field="num_images"),
        accept="image/*",
    ),
    "layers beside a picture as one": typed(
        "application/json",
        json.dumps({**GOOD, "return_layers": True}).encode(),
        refused(406, "application/zip", "application/json", field="return_layers"),
        accept="image/*",
    ),
    "more steps than the solver takes": changed(
        refused(400, "at most 50", "lcm", field="steps"), scheduler="lcm", steps=51
    ),
    "long prompts in emoji in a JPEG": changed(
        answered(),
        output_format="jpeg",
        **dict.fromkeys(("background_prompt", "foreground_prompt", "negative_prompt"), EMOJI),
    ),
    "candidates beyond the limit": changed(
        refused(413, "num_images x candidates", field="candidates"), candidates=8, width=2048, height=2048
    ),
    "two pictures, preferably as one": typed(
        "application/json", json.dumps({**GOOD, "num_images": 2}).encode(), answered(), accept="image/png, */*;q=0.1"
    ),
    "a warning beside a picture": typed(
        "image/gif",
        file(TWO[0], "GIF", save_all=True, append_images=TWO[1:]),
        picture_with(SEVERAL),
        accept="image/png",
    ),
}
INPUTS = {**SPELLINGS, **PICTURES, **NAMES, **ANSWERS}


@pytest.fixture(scope="module")
def direct() -> Iterator[Server]:
    environment = {"INPAINT_MAX_BODY_MB": "2", "INPAINT_PROVENANCE": "full"}
    with Server(command=[sys.executable, "-c", DIRECT], environment=environment) as running:
        wait_until(lambda: running.ping() == 200)
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module", params=["front door", "direct"])
def door(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue("server" if request.param == "front door" else "direct")


@pytest.fixture(scope="module")
def documented(door: Server) -> Reply:
    return door.invoke(WRITTEN)


@pytest.mark.parametrize("name", INPUTS)
def test_input_is_answered_as_written(door: Server, documented: Reply, name: str):
    sent = INPUTS[name]
    sent.answer(door.request("POST", "/invocations", sent.body, sent.headers), documented)
