"""A request's fields, typed, and photos as the wire's base64."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from PIL import Image

from inpaint_server.domain.request import OutputFormat, Scheduler, Task
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.schema import AspectRatio, ProfileName

Photo = Image.Image | bytes | str | os.PathLike[str]
"""A picture in memory, the bytes of a PNG, JPEG or WebP file, or the path of one."""


class Fields(TypedDict, total=False):
    """Every field of a request but `task` and `image`, which are a method's name and its first argument.

    Their meanings, limits and defaults are the wire's (`schema.InvocationRequest`); the server checks them.
    """

    mask: Photo
    points: Sequence[Sequence[float]]
    box: Sequence[float]
    background_prompt: str
    foreground_prompt: str
    negative_prompt: str
    layers: Sequence[Mapping[str, Any]]
    aspect_ratio: AspectRatio
    width: int
    height: int
    placement: Literal["random", "centre", "original"] | Mapping[str, float]
    num_images: int
    seed: int
    profile: ProfileName
    steps: int
    guidance_scale: float
    scheduler: Scheduler
    guidance_interval: Sequence[float]
    reuse_features: int
    joint: bool
    feather: int
    background_strength: float
    shadow: float
    reflection: float
    light_match: float
    candidates: int
    output_format: OutputFormat
    return_layers: bool


def request_object(task: Task, photo: Photo | None, fields: Fields) -> dict[str, Any]:
    """The request as a JSON object: pictures as base64, everything else as it was given.

    Raises:
        InvalidRequest: a picture's file cannot be read.
    """
    request: dict[str, Any] = {"task": task, **fields}
    for name, picture in (("image", photo), ("mask", fields.get("mask"))):
        if picture is not None:
            request[name] = base64.b64encode(_file(picture, name)).decode("ascii")
    return request


def _file(photo: Photo, field: str) -> bytes:
    """A picture's file: as it is on the disk or in memory, or as PNG."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, Image.Image):
        return _as_png(photo)
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"Check the path of `{field}`: {error}.", field=field) from None


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    # PNG holds no CMYK, YCbCr, ...; everything it does hold is sent as it is, transparency included.
    (image if image.mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else image.convert("RGB")).save(file, "PNG")
    return file.getvalue()
