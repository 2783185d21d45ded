"""The wire contract, through the real front door on the demo models."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from inpaint_server import __version__
from inpaint_server.wire import provenance
from testing.running import Reply, Server
from testing.runtime_proxy import RuntimeProxy

JSON = "application/json"
LAYER_NAMES = {"mask", "background", "passes", "layout"}


@pytest.fixture(scope="module")
def server(real_server: Server) -> Server:
    return real_server


def photo(width: int = 60, height: int = 90) -> Image.Image:
    """A grey photo with a round product on it; its alpha channel is the mask, so that nothing need be segmented."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((y - height / 2) / height, (x - width / 2) / width) < 0.3
    rgba = np.full((height, width, 4), 120, np.uint8)
    rgba[..., 0] = x * 255 // width
    rgba[..., 3] = inside * 255
    return Image.fromarray(rgba)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


GOOD = {
    "image": b64(file(photo())),
    "background_prompt": "beach",
    "foreground_prompt": "sand",
    "width": 64,
    "height": 64,
    "steps": 1,
    "seed": 5,
}


def invoke(server: Server, body: Any, content_type: str = JSON, accept: str = JSON, attributes: str = "") -> Reply:
    sent = json.dumps(body).encode() if isinstance(body, dict | list) else body
    headers = {"Content-Type": content_type, "Accept": accept}
    if attributes:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    return server.request("POST", "/invocations", sent, headers)


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def form(fields: dict[str, str | bytes]) -> tuple[bytes, str]:
    parts = b""
    for name, value in fields.items():
        a_file = isinstance(value, bytes)
        head = f'--XX\r\nContent-Disposition: form-data; name="{name}"'
        head += '; filename="photo.png"\r\nContent-Type: image/png' if a_file else ""
        parts += head.encode() + b"\r\n\r\n" + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return parts + b"--XX--\r\n", "multipart/form-data; boundary=XX"


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def test_advert_answer_has_every_field(server: Server):
    answer = invoke(server, {**GOOD, "return_layers": True}).json
    image = answer["images"][0]
    assert decoded(image["image"]).shape == (64, 64, 3)
    assert (image["seed"], answer["format"], answer["width"], answer["height"]) == (5, "png", 64, 64)
    assert set(image["placement"]) == {"scale", "x", "y", "split"}
    assert set(image["layers"]) == LAYER_NAMES
    assert len(image["layers"]["passes"]) == 2
    assert set(answer["timings_ms"]) == {
        *("decode", "segment", "background", "passes", "composite", "encode", "queue", "total"),
    }
    assert set(answer["model"]) == {"bundle", "device", "dtype", "attention"}
    assert isinstance(answer["warnings"], list), "a picture of one step may well have warnings"


@pytest.mark.parametrize("task", ["advert", "mask", "background", "inpaint"])
def test_each_task_answers_picture(server: Server, task: str):
    answer = invoke(server, {**GOOD, "task": task}).json
    picture = decoded(answer["images"][0]["image"])
    assert picture.shape == ((90, 60) if task == "mask" else (64, 64, 3))


def test_mask_task_segments_photo_without_alpha(server: Server):
    y, x = np.mgrid[:256, :256]
    lit = np.where(np.hypot(y - 128, x - 128) < 70, 235, 25).astype(np.uint8)
    image = Image.fromarray(np.repeat(lit[..., None], 3, axis=2))
    answer = invoke(server, {"task": "mask", "image": b64(file(image))}).json
    mask = decoded(answer["images"][0]["image"]) >= 128
    wanted = lit > 128
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.8
    assert answer["images"][0]["score"] > 0.5


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_bare_picture_takes_fields_from_custom_attributes(server: Server, kind: str, media_type: str):
    fields = {name: value for name, value in GOOD.items() if name != "image"}
    body = file(photo().convert("RGB") if kind == "JPEG" else photo(), kind)
    if kind == "JPEG":
        fields["mask"] = b64(file(photo(12, 18).getchannel("A")))
    reply = invoke(server, body, media_type, attributes=json.dumps(fields))
    assert decoded(reply.json["images"][0]["image"]).shape == (64, 64, 3)


def test_form_equals_json(server: Server):
    fields: dict[str, str | bytes] = {name: str(value) for name, value in GOOD.items() if name != "image"}
    body, content_type = form({**fields, "image": file(photo()), "placement": '{"scale": 0.5, "x": 0.5, "y": 0.9}'})
    sent = {**GOOD, "placement": {"scale": 0.5, "x": 0.5, "y": 0.9}}
    as_form, as_json = invoke(server, body, content_type), invoke(server, sent)
    assert as_form.json["images"] == as_json.json["images"]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_accept_picture_answers_first_picture(server: Server, kind: str):
    reply = invoke(server, GOOD, accept=f"image/{kind}")
    assert reply.headers["content-type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(reply.body)).format == kind.upper()
    attributes = reply.headers["x-amzn-sagemaker-custom-attributes"]
    assert json.loads(attributes)["seed"] == 5
    assert len(attributes) <= 1024


def test_zip_holds_pictures_layers_and_manifest(server: Server):
    reply = invoke(server, {**GOOD, "num_images": 2, "return_layers": True}, accept="application/zip")
    archive = zipfile.ZipFile(io.BytesIO(reply.body))
    manifest = json.loads(archive.read("manifest.json"))
    layers = ("mask", "background", "pass-1", "pass-2")
    names = [f"{n}.png" for n in (1, 2)] + [f"{n}-{layer}.png" for n in (1, 2) for layer in layers]
    assert sorted(archive.namelist()) == sorted(["manifest.json", *names])
    assert [image["image"] for image in manifest["images"]] == ["1.png", "2.png"]
    assert Image.open(io.BytesIO(archive.read("2-pass-1.png"))).size == (64, 64)


def test_json_lines_answer_in_order_around_bad_line(server: Server):
    lines = [{**GOOD, "seed": 1}, {**GOOD, "widht": 3}, "no json", {**GOOD, "seed": 2}]
    body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode() + b"\n\n"
    reply = invoke(server, body, "application/jsonlines", accept="application/jsonlines")
    answers = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    assert [answer["images"][0]["seed"] if "images" in answer else answer["error"]["code"] for answer in answers] == [
        1,
        "invalid_request",
        "invalid_request",
        2,
    ]
    assert answers[1]["error"]["field"] == "widht"


def test_picture_i_equals_request_with_seed_plus_i(server: Server):
    together = invoke(server, {**GOOD, "num_images": 3, "steps": 3}).json["images"]
    assert [image["seed"] for image in together] == [5, 6, 7]
    for image in together:
        alone = invoke(server, {**GOOD, "seed": image["seed"], "steps": 3}).json["images"][0]
        assert alone["placement"] == image["placement"]
        difference = np.abs(decoded(alone["image"]).astype(int) - decoded(image["image"]))
        assert difference.max() <= 1, "the last bit of a kernel depends on the batch; nothing else may"


def test_same_request_gives_same_bytes(server: Server):
    first, second = (invoke(server, GOOD, accept="image/png").body for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_picture_repeated_from_its_origin_is_identical(server: Server, kind: str):
    fields = {**GOOD, "layers": [{"region": "lower", "prompt": "Kies, 5 €"}], "candidates": 2, "output_format": kind}
    first = base64.b64decode(invoke(server, fields).json["images"][0]["image"])
    origin = provenance.read_origin(first, max_pixels=10_000)
    assert origin["version"] == __version__
    assert origin["request"]["layers"][0]["prompt"] == "Kies, 5 €"
    again = {**origin["request"], "image": GOOD["image"], "output_format": kind}
    assert base64.b64decode(invoke(server, again).json["images"][0]["image"]) == first


def test_512_pixel_json_answer_is_below_1_5_megabytes(server: Server):
    reply = invoke(server, {**GOOD, "width": 512, "height": 512})
    assert reply.status == 200
    assert len(reply.body) < 1_500_000


def test_replaced_sample_mask_call(server: Server):
    array = np.full((120, 160, 3), 30, np.uint8)
    array[40:90, 50:110] = 220
    masks = np.array(invoke(server, npy(array), "application/x-npy").json, np.uint8)
    assert masks.shape == (120, 160, 3)
    assert set(np.unique(masks)) <= {0, 255}


def test_replaced_sample_advert_call(server: Server):
    rgba = np.asarray(photo(64, 64))
    body = {
        "image": rgba[..., :3].tolist(),
        "mask": np.repeat(rgba[..., 3:], 3, axis=2).tolist(),
        "prompt_fr": "sand",
        "prompt_bg": "beach",
        "negative_prompt": "ugly",
        "steps": 1,
    }
    pictures = [np.array(picture) for picture in invoke(server, body).json]
    side = pictures[0].shape[0]
    assert [picture.shape for picture in pictures] == [(side, side, 3), (side, side, 3), (side, side), (side, side, 3)]


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    + png_chunk(b"IEND", b"")
)
WHOLE = file(photo())
SEVERAL = [photo(16, 16), photo(16, 16)]


def with_image(data: bytes) -> dict[str, Any]:
    return {**GOOD, "image": b64(data)}


BAD: dict[str, tuple[Any, str, str, int, str]] = {
    "empty body": (b"", JSON, JSON, 400, "invalid_request"),
    "no json": (b"{", JSON, JSON, 400, "invalid_request"),
    "not utf-8": (b'{"a": "\xff"}', JSON, JSON, 400, "invalid_request"),
    "deep json": (b"[" * 100_000, JSON, JSON, 400, "invalid_request"),
    "json array": (b"[]", JSON, JSON, 400, "invalid_request"),
    "json NaN": (b'{"guidance_scale": NaN}', JSON, JSON, 400, "invalid_request"),
    "json number": (b"1e999", JSON, JSON, 400, "invalid_request"),
    "no image": ({"background_prompt": "x", "foreground_prompt": "y"}, JSON, JSON, 400, "invalid_request"),
    "unknown field": ({**GOOD, "widht": 64}, JSON, JSON, 400, "invalid_request"),
    "negative seed": ({**GOOD, "seed": -1}, JSON, JSON, 400, "invalid_request"),
    "huge seed": ({**GOOD, "seed": 2**70}, JSON, JSON, 400, "invalid_request"),
    "width 65": ({**GOOD, "width": 65}, JSON, JSON, 400, "invalid_request"),
    "negative height": ({**GOOD, "height": -64}, JSON, JSON, 400, "invalid_request"),
    "text for a number": ({**GOOD, "steps": "25"}, JSON, JSON, 400, "invalid_request"),
    "null prompt list": ({**GOOD, "background_prompt": ["x"]}, JSON, JSON, 400, "invalid_request"),
    "nine images": ({**GOOD, "num_images": 9}, JSON, JSON, 400, "invalid_request"),
    "too many pixels": (
        {**GOOD, "width": 2048, "height": 2048, "num_images": 8},
        JSON,
        JSON,
        413,
        "too_large",
    ),
    "unknown scheduler": ({**GOOD, "scheduler": "heun"}, JSON, JSON, 400, "invalid_request"),
    "unknown task": ({**GOOD, "task": "paint"}, JSON, JSON, 400, "invalid_request"),
    "point outside": ({**GOOD, "points": [[1000, 2, 1]]}, JSON, JSON, 400, "invalid_request"),
    "point label 2": ({**GOOD, "points": [[1, 2, 2]]}, JSON, JSON, 400, "invalid_request"),
    "box outside": ({**GOOD, "box": [0, 0, 1000, 10]}, JSON, JSON, 400, "invalid_request"),
    "empty box": ({**GOOD, "box": [5, 5, 5, 9]}, JSON, JSON, 400, "invalid_request"),
    "wrong base64": ({**GOOD, "image": "%%%"}, JSON, JSON, 400, "invalid_request"),
    "no picture": (with_image(b"hello"), JSON, JSON, 400, "invalid_request"),
    "empty picture": ({**GOOD, "image": ""}, JSON, JSON, 400, "invalid_request"),
    "a JPEG 2000": (with_image(file(photo(), "JPEG2000")), JSON, JSON, 400, "invalid_request"),
    "truncated png": (with_image(WHOLE[: len(WHOLE) // 2]), JSON, JSON, 400, "invalid_request"),
    "png header only": (with_image(WHOLE[:33]), JSON, JSON, 400, "invalid_request"),
    "truncated jpeg": (
        with_image(file(photo().convert("RGB"), "JPEG")[:300]),
        JSON,
        JSON,
        400,
        "invalid_request",
    ),
    "flipped bytes": (with_image(WHOLE[:60] + bytes(40) + WHOLE[100:]), JSON, JSON, 400, "invalid_request"),
    "a bomb of 30,000 x 30,000": (with_image(BOMB), JSON, JSON, 413, "too_large"),
    "1 x 1": (with_image(file(photo(1, 1))), JSON, JSON, 400, "invalid_request"),
    "wholly transparent": (
        with_image(file(Image.new("RGBA", (32, 32)))),
        JSON,
        JSON,
        400,
        "invalid_request",
    ),
    "black mask": (
        {**GOOD, "mask": b64(file(Image.new("L", (60, 90))))},
        JSON,
        JSON,
        400,
        "invalid_request",
    ),
    "mask of another shape": (
        {**GOOD, "mask": b64(file(Image.new("L", (90, 60), 255)))},
        JSON,
        JSON,
        400,
        "invalid_request",
    ),
    "a local path": ({**GOOD, "image": "file:///etc/passwd"}, JSON, JSON, 400, "invalid_request"),
    "an address": ({**GOOD, "image": "http://127.0.0.1/x.png"}, JSON, JSON, 400, "invalid_request"),
    "ragged nested list": (
        {**GOOD, "image": [[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]]},
        JSON,
        JSON,
        400,
        "invalid_request",
    ),
    "nested list of 300s": ({**GOOD, "image": [[[300] * 3] * 16] * 16}, JSON, JSON, 400, "invalid_request"),
    "pickled npy": (
        npy(np.array([{"a": 1}], dtype=object)),
        "application/x-npy",
        JSON,
        400,
        "invalid_request",
    ),
    "a bare pickle": (pickle.dumps([1, 2]), "application/x-npy", JSON, 400, "invalid_request"),
    "complex npy": (npy(np.zeros((16, 16, 3), complex)), "application/x-npy", JSON, 400, "invalid_request"),
    "an npy whose header is no Python": (
        npy(np.zeros((16, 16, 3), np.uint8)).replace(b"'descr': '|u1', 'fortran", b"'descr5L\x0b\x9c========="),
        "application/x-npy",
        JSON,
        400,
        "invalid_request",
    ),
    "an npy of sides below nothing": (
        npy(np.zeros((16, 16, 3), np.uint8)).replace(b"(16, 16, 3)", b"(-16,-16,3)"),
        "application/x-npy",
        JSON,
        400,
        "invalid_request",
    ),
    "short npy": (npy(np.zeros((16, 16, 3), np.uint8))[:-5], "application/x-npy", JSON, 400, "invalid_request"),
    "form without parts": (b"--XX--\r\n", "multipart/form-data; boundary=XX", JSON, 400, "invalid_request"),
    "text": (b"hello", "text/plain", JSON, 415, "unsupported_media_type"),
    "no content type": (b"hello", "", JSON, 415, "unsupported_media_type"),
    "urlencoded": (b"a=b", "application/x-www-form-urlencoded", JSON, 415, "unsupported_media_type"),
    "accepts html": (GOOD, JSON, "text/html", 406, "not_acceptable"),
    "accepts nothing": (GOOD, JSON, "image/png;q=0", 406, "not_acceptable"),
    "body over 25 MB": (bytes(25_000_001), "image/png", JSON, 413, "too_large"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_next_request_served(server: Server, name: str):
    body, content_type, accept, status, code = BAD[name]
    refused = invoke(server, body, content_type, accept)
    error = refused.json["error"]
    assert (refused.status, error["code"]) == (status, code)
    assert refused.headers["content-type"] == JSON
    assert error["message"].endswith(".")
    assert error["request_id"]
    assert "Traceback" not in error["message"]
    assert invoke(server, GOOD).status == 200


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (photo().convert("RGB").convert("CMYK"), "CMYK"),
        (Image.fromarray(np.linspace(0, 65535, 60 * 90).astype(np.uint16).reshape(90, 60)), "16 bits"),
        (photo().convert("LA"), "grey with alpha"),
        (photo().quantize(16), "palette"),
    ],
)
def test_unusual_picture_modes_are_read(server: Server, image: Image.Image, what: str):
    kind = "JPEG" if image.mode == "CMYK" else "PNG"
    sent = {**with_image(file(image, kind)), "mask": b64(file(photo().getchannel("A")))}
    assert invoke(server, sent).status == 200, what


def test_animation_uses_first_frame(server: Server):
    animated = file(SEVERAL[0], "PNG", save_all=True, append_images=SEVERAL[1:])
    first, still = (invoke(server, with_image(data)).json["images"] for data in (animated, file(SEVERAL[0])))
    assert first == still


def test_get_invocations_answers_405(server: Server):
    reply = server.request("GET", "/invocations")
    assert (reply.status, reply.json["error"]["code"]) == (405, "method_not_allowed")


@pytest.fixture
def runtime(server: Server) -> Iterator[Any]:
    """boto3's own client, on a proxy that does what the platform does between it and the container."""
    import boto3
    from botocore.config import Config

    with RuntimeProxy(server.port) as proxy:
        yield cast("Any", boto3).client(
            "sagemaker-runtime",
            endpoint_url=proxy.url,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}),
        )


def test_boto3_gets_advert(runtime: Any):
    answer = runtime.invoke_endpoint(
        EndpointName="adverts",
        ContentType="image/png",
        Accept="image/png",
        CustomAttributes=json.dumps({name: value for name, value in GOOD.items() if name != "image"}),
        Body=file(photo()),
    )
    assert answer["ContentType"] == "image/png"
    assert Image.open(answer["Body"]).size == (64, 64)
    assert json.loads(answer["CustomAttributes"])["seed"] == 5


def test_boto3_error_names_field(runtime: Any):
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as refused:
        runtime.invoke_endpoint(EndpointName="adverts", ContentType=JSON, Body=json.dumps({**GOOD, "width": 65}))
    assert refused.value.response["OriginalStatusCode"] == 400
    assert json.loads(refused.value.response["OriginalMessage"])["error"]["field"] == "width"


def test_in_process_and_front_door_give_same_bytes(server: Server):
    through_the_door = invoke(server, GOOD).json["images"][0]["image"]
    from inpaint_server.commands import generate

    assert b64(generate.invoke(GOOD, endpoint=None, bundle="demo").pictures[0].data) == through_the_door
