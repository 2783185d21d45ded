"""The clients, against the engine's app, the real front door, and a proxy in place of SageMaker's runtime."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pytest
from PIL import Image

from inpaint_server import errors
from inpaint_server.client import AsyncClient, Client, Fields, Photo, RawResponse, Result, Retry
from inpaint_server.client.response import JSON
from inpaint_server.wire.schema import InvocationRequest
from testing.plain_server import PlainServer
from testing.running import ROOT, Server, free_port
from testing.runtime_proxy import RuntimeProxy

IMMEDIATELY = Retry(first_wait_s=0.001)


def fields(**more: Unpack[Fields]) -> Fields:
    return {"background_prompt": "beach", "foreground_prompt": "sand", "seed": 5, **more}


def photo() -> Image.Image:
    """A grey photo whose middle is opaque: its alpha channel is the mask."""
    rgba = np.full((60, 90, 4), 90, np.uint8)
    rgba[..., 3] = 0
    rgba[20:40, 30:60, 3] = 255
    return Image.fromarray(rgba)


def test_client_imports_no_torch():
    heavy = ("torch", "diffusers", "transformers", "boto3", "starlette")
    program = f"import sys, inpaint_server.client; print([name for name in {heavy} if name in sys.modules])"
    completed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert completed.stdout == "[]\n"


def test_fields_match_request_schema():
    assert set(Fields.__annotations__) == set(InvocationRequest.model_fields) - {"task", "image"}


@pytest.mark.parametrize("kind", ["image", "bytes", "path"])
def test_photo_from_image_bytes_or_path(plain_server: PlainServer, tmp_path: Path, kind: str):
    file = io.BytesIO()
    photo().save(file, "PNG")
    (tmp_path / "photo.png").write_bytes(file.getvalue())
    given = {"image": photo(), "bytes": file.getvalue(), "path": tmp_path / "photo.png"}[kind]
    with Client(plain_server.url) as client:
        result = client.advert(given, **fields(num_images=2, return_layers=True))
    assert [picture.seed for picture in result.pictures] == [5, 6]
    assert result.image.size == (result.width, result.height) == (64, 64)
    layers = result.pictures[1].layers
    assert layers is not None
    assert [name for name, _ in layers.named()] == ["mask", "background", "pass 1", "pass 2"]
    assert layers.mask.size == layers.passes[0].size == (64, 64)
    left, top, right, bottom = layers.product_box
    assert 0 <= left < right <= 64
    assert 0 <= top < bottom <= 64
    assert result.pictures[0].receipt is not None
    assert result.model.bundle == "plain"


def test_one_method_per_task(plain_server: PlainServer):
    with Client(plain_server.url) as client:
        masked = client.mask(photo())
        assert (masked.image.size, masked.format) == ((90, 60), "png")
        assert client.background(**fields()).pictures[0].placement is None
        around = [{"region": "around", "prompt": "sand"}]
        assert client.inpaint(photo(), layers=around, return_layers=True).image.size == (64, 64)
    assert [body["task"] for body in plain_server.bodies] == ["mask", "background", "inpaint"]


def test_mask_from_image(plain_server: PlainServer):
    with Client(plain_server.url) as client:
        result = client.mask(photo().convert("RGB"), mask=photo().getchannel("A"))
    assert np.array_equal(np.asarray(result.image) > 127, np.asarray(photo().getchannel("A")) > 127)


def received(server: PlainServer, given: Photo, field: str = "image") -> np.ndarray:
    """The pixels that a server gets."""
    with Client(server.url) as client:
        client.mask(given if field == "image" else photo(), **({} if field == "image" else {"mask": given}))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(server.bodies[-1][field]))))


def test_image_is_turned_by_its_exif_like_its_file(plain_server: PlainServer):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    photo().save(file, "PNG", exif=exif)
    turned = Image.open(io.BytesIO(file.getvalue()))
    with Client(plain_server.url) as client:
        assert client.mask(turned).image.size == client.mask(file.getvalue()).image.size == (60, 90)


def test_photo_from_numpy_array(plain_server: PlainServer):
    levels = np.asarray(photo())
    for array in (levels, levels / 255, levels[..., :3], levels[..., 0]):
        expected = np.rint(array * 255) if array.dtype.kind == "f" else array
        np.testing.assert_array_equal(received(plain_server, array), expected)
    inside = levels[..., 3] > 0
    for mask in (inside, inside.astype(np.uint8), inside * 255):
        np.testing.assert_array_equal(received(plain_server, mask, "mask"), np.where(inside, 255, 0))
    with Client(plain_server.url) as client, pytest.raises(errors.InvalidRequest, match="H x W") as refused:
        client.mask(levels[None])
    assert refused.value.field == "image"


@pytest.mark.parametrize(("name", "channels"), [("photo.heic", 3), ("cut-out.heic", 4)])
def test_heic_is_sent_as_servers_read_it(plain_server: PlainServer, name: str, channels: int):
    """A picture red above and blue below; in the cut-out its middle is opaque."""
    path = ROOT / "testing" / name
    for given in (path, str(path), path.read_bytes()):
        pixels = received(plain_server, given)
        assert pixels.shape == (96, 64, channels)
        # Both encodings are lossy: within a tenth of the range.
        assert np.abs(pixels[20, 32, :3] - (220.0, 40, 40)).max() < 26
        assert np.abs(pixels[76, 32, :3] - (40.0, 60, 200)).max() < 26
    if channels == 4:
        assert pixels[4, 4, 3] == 0
        assert pixels[50, 32, 3] == 255


def test_damaged_heic_is_refused_before_sending(plain_server: PlainServer):
    cut = (ROOT / "testing" / "photo.heic").read_bytes()[:300]
    with Client(plain_server.url) as client, pytest.raises(errors.InvalidRequest, match="damaged HEIC"):
        client.mask(cut)
    assert plain_server.bodies == []


def test_saved_file_has_bytes_of_server(plain_server: PlainServer, tmp_path: Path):
    with Client(plain_server.url) as client:
        result = client.advert(photo(), **fields(output_format="jpeg"))
    result.pictures[0].save(tmp_path / "advert.jpeg")
    assert (tmp_path / "advert.jpeg").read_bytes() == result.pictures[0].data
    assert Image.open(io.BytesIO(result.pictures[0].data)).format == "JPEG"


def test_refusal_raises_error_of_its_code(plain_server: PlainServer):
    with Client(plain_server.url) as client, pytest.raises(errors.InvalidRequest, match="multiple of 8") as refused:
        client.advert(photo(), **fields(width=65))
    assert refused.value.field == "width"
    assert len(plain_server.bodies) == 1


def test_missing_photo_is_refused_before_sending(plain_server: PlainServer):
    with Client(plain_server.url) as client, pytest.raises(errors.InvalidRequest, match=r"no-such\.png"):
        client.advert("no-such.png", **fields())
    assert plain_server.bodies == []


def test_full_queue_is_retried(plain_server: PlainServer):
    plain_server.refusals[:] = [(503, {}), (503, {})]
    with Client(plain_server.url, retry=IMMEDIATELY) as client:
        assert client.advert(photo(), **fields()).pictures[0].seed == 5


def test_refusal_is_raised_after_last_attempt(plain_server: PlainServer):
    plain_server.refusals[:] = [(503, {})] * 3
    retry = Retry(attempts=2, first_wait_s=0.001)
    with Client(plain_server.url, retry=retry) as client, pytest.raises(errors.Overloaded):
        client.advert(photo(), **fields())
    assert len(plain_server.refusals) == 1


@pytest.mark.parametrize(("status", "kind"), [(500, errors.Internal), (504, errors.DeadlineExceeded)])
def test_failure_and_missed_deadline_are_not_retried(plain_server: PlainServer, status: int, kind: type[Exception]):
    plain_server.refusals[:] = [(status, {}), (status, {})]
    with Client(plain_server.url, retry=IMMEDIATELY) as client, pytest.raises(kind):
        client.advert(photo(), **fields())
    assert len(plain_server.refusals) == 1


@contextmanager
def raw_server(answer: bytes) -> Generator[tuple[str, list[bytes]]]:
    """A socket that gives every connection these bytes and closes it; the requests it received."""
    listener, received = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    received.append(connection.recv(1 << 20))
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_lost_answer_is_not_retried():
    with raw_server(b"") as (url, received), Client(url, retry=IMMEDIATELY) as client:
        with pytest.raises(errors.ResponseLost, match="was lost"):
            client.background(background_prompt="beach")
        assert len(received) == 1


def test_proxy_refusal_differs_from_server_refusal():
    page = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with (
        raw_server(page) as (url, _),
        Client(url, retry=IMMEDIATELY) as client,
        pytest.raises(errors.PlatformRefused, match="413"),
    ):
        client.background(background_prompt="beach")


@pytest.mark.parametrize(
    ("code", "status", "kind", "attempts"),
    [
        ("ValidationError", 413, errors.PlatformRefused, 1),
        ("ThrottlingException", 400, errors.PlatformRefused, 3),
        ("AccessDeniedException", 403, errors.Unreachable, 1),
    ],
)
def test_sagemaker_refusals(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, code: str, status: int, kind: type[Exception], attempts: int
):
    from botocore.exceptions import ClientError

    response = {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    calls: list[str] = []

    def refuse(**request: object) -> None:
        calls.append(str(request["EndpointName"]))
        raise ClientError(response, "InvokeEndpoint")  # pyright: ignore[reportArgumentType]

    with Client(endpoint, retry=Retry(attempts=3, first_wait_s=0.001)) as client:
        monkeypatch.setattr(client._transport, "_runtime", Runtime(refuse))
        with pytest.raises(kind):
            client.background(background_prompt="beach")
    assert len(calls) == attempts


class Runtime:
    """boto3's runtime client, as far as it is used."""

    def __init__(self, invoke_endpoint: Callable[..., None]) -> None:
        self.invoke_endpoint = invoke_endpoint

    def close(self) -> None:
        """Nothing is open."""


class AlwaysOverloaded:
    """A transport to a server that is always overloaded; counts the requests."""

    def __init__(self, retry_after_s: float | None) -> None:
        self.reply = RawResponse(status=503, body=b"{}", retry_after_s=retry_after_s, retryable=True)
        self.requests = 0

    def send(self, body: bytes, accept: str = JSON) -> RawResponse:  # noqa: ARG002 - a transport's signature
        self.requests += 1
        return self.reply

    def close(self) -> None:
        """Nothing to close."""


def test_retry_after_beyond_backoff_is_respected(monkeypatch: pytest.MonkeyPatch):
    waited: list[float] = []
    client = Client(AlwaysOverloaded(retry_after_s=7.0), retry=Retry(attempts=5, first_wait_s=4.0, longest_wait_s=16.0))
    monkeypatch.setattr(client._closed, "wait", waited.append)
    assert client.send(b"{}").status == 503
    assert len(waited) == 4
    assert waited[0] == 7.0
    assert all(7.0 <= wait_s <= 16.0 for wait_s in waited)
    assert max(waited) > 7.0


def test_close_ends_retry_wait():
    transport = AlwaysOverloaded(retry_after_s=3600.0)
    client = Client(transport)
    client.close()
    assert client.send(b"{}").status == 503
    assert transport.requests == 1


def test_unreachable_server_error_names_address():
    url = f"http://127.0.0.1:{free_port()}"
    retry = Retry(attempts=2, first_wait_s=0.001)
    with Client(url, retry=retry) as client, pytest.raises(errors.Unreachable, match=url):
        client.mask(photo())


def test_unrelated_server_is_reported(plain_server: PlainServer):
    with Client(f"{plain_server.url}/elsewhere") as client, pytest.raises(errors.NotFound):
        client.mask(photo())
    with pytest.raises(errors.Unreachable, match="no inpaint-server"):
        RawResponse(status=404, body=b"<html>").check()
    with pytest.raises(errors.Unreachable, match="not one of an inpaint-server"):
        Result.from_json(b'{"pictures": []}')


def test_async_requests_run_concurrently(plain_server: PlainServer):
    async def work() -> list[Result]:
        plain_server.refusals[:] = [(503, {})]
        async with AsyncClient(plain_server.url, retry=IMMEDIATELY) as client:
            seeds = (fields(seed=seed) for seed in range(3))
            mask = client.mask(photo())
            scene = client.background(**fields())
            inpainted = client.inpaint(photo(), **fields())
            return await asyncio.gather(
                *(client.advert(photo(), **request) for request in seeds), mask, scene, inpainted
            )

    results = asyncio.run(work())
    assert [result.pictures[0].seed for result in results] == [0, 1, 2, None, 5, 5]


@pytest.fixture
def endpoint(plain_server: PlainServer, monkeypatch: pytest.MonkeyPatch):
    with RuntimeProxy(plain_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", proxy.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        yield "adverts"


def test_endpoint_is_addressed_by_name(endpoint: str, plain_server: PlainServer):
    plain_server.refusals[:] = [(503, {})]
    with Client(endpoint, retry=IMMEDIATELY) as client:
        assert client.advert(photo(), **fields()).pictures[0].seed == 5
        with pytest.raises(errors.InvalidRequest, match="multiple of 8"):
            client.advert(photo(), **fields(width=65))


def test_async_client_invokes_endpoint(endpoint: str):
    async def work() -> Result:
        async with AsyncClient(endpoint) as client:
            return await client.advert(photo(), **fields())

    assert asyncio.run(work()).pictures[0].seed == 5


def test_missing_region_error_names_endpoint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.InvalidRequest, match="adverts"):
        Client("adverts")


def test_front_door_answers_client(real_server: Server):
    with Client(f"http://127.0.0.1:{real_server.port}") as client:
        result = client.advert(photo(), **fields(width=64, height=64, steps=1, return_layers=True))
    assert result.image.size == (64, 64)
    assert result.timings_ms.total > 0


def display(thing: object) -> dict[str, Any]:
    """What a notebook displays, by media type."""
    from IPython.core.formatters import DisplayFormatter

    return DisplayFormatter().format(thing)[0]  # pyright: ignore[reportReturnType]


def test_notebook_shows_picture_and_layers(plain_server: PlainServer):
    with Client(plain_server.url) as client:
        result = client.advert(photo(), **fields(num_images=2, return_layers=True))
    displayed = display(result)
    assert Image.open(io.BytesIO(displayed["image/png"])).size == (64, 64)
    captions = [part.partition("<")[0] for part in displayed["text/html"].split("<figcaption>")[1:]]
    layers = ["mask", "background", "pass 1", "pass 2"]
    assert captions == ["seed 5", *layers, "seed 6", *layers]
    assert displayed["text/html"].count("data:image/png;base64,") == 10
    assert display(result.pictures[0])["text/html"].count("<figcaption>") == 5


def test_notebook_escapes_warnings(plain_server: PlainServer):
    with Client(plain_server.url) as client:
        reply = client.send(json.dumps({"task": "background", "background_prompt": "beach", "seed": 1}).encode())
    answer = {**json.loads(reply.body), "warnings": ["<b>bold</b>"]}
    html = display(Result.from_json(json.dumps(answer)))["text/html"]
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
