"""Adverts from the command line: ask this process, a server or a SageMaker endpoint; save what comes back."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from inpaint_server import types
from inpaint_server.errors import InpaintServerError, InvalidRequest
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.types import UInt8Array

_CONTENT_TYPE = "application/json"


def request_object(photo: Path, mask: Path | None, fields: dict[str, Any]) -> dict[str, Any]:
    """A request object with the photo and every field that was given, asking for the layers too."""
    files = {"image": photo, "mask": mask}
    pictures = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items() if path}
    return {**pictures, **{name: value for name, value in fields.items() if value is not None}, "return_layers": True}


def ask(request: dict[str, Any], *, endpoint: str | None, bundle: str | None) -> dict[str, Any]:
    """The JSON answer, from a URL, a SageMaker endpoint or, without either, this process.

    Raises:
        InpaintServerError: whatever the server refused, in its own words.
    """
    if endpoint is None:
        return _ask_here(request, bundle)
    with Progress(SpinnerColumn(), TextColumn("waiting for {task.description}"), transient=True) as progress:
        progress.add_task(endpoint)
        return _ask_url(request, endpoint) if "://" in endpoint else _ask_sagemaker(request, endpoint)


def save(answer: dict[str, Any], photo: Path, out: Path) -> list[Path]:
    """Write every picture and the contact sheet; the first picture is `advert.png`, the others carry their seed."""
    out.mkdir(parents=True, exist_ok=True)
    suffix = answer["format"]
    paths: list[Path] = []
    tiles: list[tuple[str, UInt8Array]] = []
    with Image.open(photo) as opened:
        original = np.asarray(opened.convert("RGB"))
    for index, image in enumerate(answer["images"]):
        path = out / (f"advert.{suffix}" if index == 0 else f"advert-{image['seed']}.{suffix}")
        path.write_bytes(base64.b64decode(image["image"]))
        paths.append(path)
        tiles += [("photo", original), *_stages(image)]
    sheet = out / "contact-sheet.png"
    Image.fromarray(contact_sheet(tiles, columns=len(tiles) // len(answer["images"]))).save(sheet)
    return [*paths, sheet]


def _stages(image: dict[str, Any]) -> Iterator[tuple[str, UInt8Array]]:
    layers = image["layers"]
    yield "mask", _picture(layers["mask"])
    if layers["background"] is not None:
        yield "background", _picture(layers["background"])
    for number, canvas in enumerate(layers["passes"], start=1):
        yield f"pass {number}", _picture(canvas)
    yield f"advert, seed {image['seed']}", _picture(image["image"])


def _picture(encoded: str) -> UInt8Array:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as opened:
        return np.asarray(opened)


def _ask_here(request: dict[str, Any], bundle: str | None) -> dict[str, Any]:
    from inpaint_server.serving import outgoing
    from inpaint_server.serving.load import load
    from inpaint_server.settings import read

    settings = read(bundle=bundle)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        bars: dict[tuple[int, str], TaskID] = {}

        def show(step: types.Progress) -> None:
            key = (step.picture, step.stage)
            if key not in bars:
                bars[key] = progress.add_task(f"picture {step.picture + 1}, {step.stage}", total=step.steps)
            progress.update(bars[key], completed=step.step)

        loading = progress.add_task("loading the models", total=None)
        loaded = load(settings)
        progress.remove_task(loading)
        call = loaded.reader.read(json.dumps(request).encode(), {"content-type": _CONTENT_TYPE})
        job = loaded.engine.submit(call.request, deadline_s=float("inf"), on_progress=show)
        finished = outgoing.Finished(
            request=call.request,
            answer=job.answer.result(),
            card=loaded.card,
            request_id="local",
            decode_ms=0.0,
            seed_form=False,
        )
    return json.loads(outgoing.json_line(finished))


def _ask_url(request: dict[str, Any], url: str) -> dict[str, Any]:
    import httpx

    try:
        response = httpx.post(f"{url.rstrip('/').removesuffix('/invocations')}/invocations", json=request, timeout=3600)
    except httpx.HTTPError as error:
        raise InvalidRequest(f"Check the server's address {url}: {error}.") from None
    return _answer_or_error(response.status_code, response.content)


def _ask_sagemaker(request: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        raise InvalidRequest("Install boto3 (pip install 'inpaint-server[aws]') to ask a SageMaker endpoint.") from None
    try:
        # A read that times out must not be sent again: the first one may still be painting.
        client = cast("Any", boto3).client(
            "sagemaker-runtime", config=Config(read_timeout=70, retries={"max_attempts": 0})
        )
        answer = client.invoke_endpoint(
            EndpointName=name, ContentType=_CONTENT_TYPE, Accept=_CONTENT_TYPE, Body=json.dumps(request).encode()
        )
    except ClientError as error:
        told = cast("dict[str, Any]", error.response)
        if "OriginalMessage" not in told:
            raise InvalidRequest(f"The endpoint {name} refused: {error}.") from None
        return _answer_or_error(told["OriginalStatusCode"], told["OriginalMessage"].encode())
    except BotoCoreError as error:
        raise InvalidRequest(f"The endpoint {name} cannot be asked: {error}.") from None
    return json.loads(answer["Body"].read())


def _answer_or_error(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        raise InvalidRequest(f"Check the address: what answered ({status}) is no inpaint-server.") from None
    if "error" in answer:
        raise InpaintServerError(answer["error"]["message"])
    return answer
