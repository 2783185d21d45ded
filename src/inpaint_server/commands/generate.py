"""Adverts from the command line: from this process, a server or a SageMaker endpoint, saved as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from inpaint_server.client import Client, Picture, Result
from inpaint_server.client.fields import Fields
from inpaint_server.client.fields import request_object as wire_object
from inpaint_server.client.pictures import picture_file
from inpaint_server.domain import results
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.imaging.codec import decode_photo
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.settings import read

_TIMEOUT_S = 3600.0


def request_object(photo: Path, mask: Path | None, fields: dict[str, Any]) -> dict[str, Any]:
    """A request object with the photo, every field that is not None, and `return_layers`."""
    fields = {name: value for name, value in {**fields, "mask": mask}.items() if value is not None}
    return wire_object("advert", photo, cast("Fields", {**fields, "return_layers": True}))


def invoke(request: dict[str, Any], *, endpoint: str | None, bundle: str | None) -> Result:
    """The result, from a URL, a SageMaker endpoint or, without either, this process.

    Raises:
        InpaintServerError: the server refused the request or failed.
    """
    if endpoint is None:
        return _invoke_here(request, bundle)
    with (
        Progress(SpinnerColumn(), TextColumn("waiting for {task.description}"), transient=True) as progress,
        Client(endpoint, timeout_s=_TIMEOUT_S) as client,
    ):
        progress.add_task(endpoint)
        return client.invoke(request)


def save(result: Result, photo: Path, out: Path) -> list[Path]:
    """Write every picture and the contact sheet; the first picture is `advert.png`, the others carry their seed."""
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    tiles: list[tuple[str, UInt8Array]] = []
    original, _ = decode_photo(picture_file(photo, "photo"), max_pixels=int(read().max_megapixels * 1e6))
    for index, picture in enumerate(result.pictures):
        path = out / (f"advert.{result.format}" if index == 0 else f"advert-{picture.seed}.{result.format}")
        picture.save(path)
        paths.append(path)
        tiles += [("photo", original), *_stages(picture)]
    sheet = out / "contact-sheet.png"
    Image.fromarray(contact_sheet(tiles, columns=len(tiles) // len(result.pictures))).save(sheet)
    return [*paths, sheet]


def _stages(picture: Picture) -> Iterator[tuple[str, UInt8Array]]:
    for name, layer in picture.layers.named() if picture.layers else ():
        yield name, np.asarray(layer)
    yield f"advert, seed {picture.seed}", np.asarray(picture.image)


def _invoke_here(request: dict[str, Any], bundle: str | None) -> Result:
    from inpaint_server.server.local import LocalEngine
    from inpaint_server.settings import read

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        bars: dict[tuple[int, str], TaskID] = {}

        def show(step: results.Progress) -> None:
            key = (step.picture, step.stage)
            if key not in bars:
                bars[key] = progress.add_task(f"picture {step.picture + 1}, {step.stage}", total=step.steps)
            progress.update(bars[key], completed=step.step)

        loading = progress.add_task("loading the models", total=None)
        client = Client(LocalEngine(read(bundle=bundle), show))
        progress.remove_task(loading)
        return client.invoke(request)
