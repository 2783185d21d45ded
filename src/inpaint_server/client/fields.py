"""A request's fields, typed, and photos as the wire's base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from inpaint_server.client.pictures import Photo, picture_file
from inpaint_server.domain.request import OutputFormat, ReceiptDetail, Scheduler, Task
from inpaint_server.wire.schema import AspectRatio, ProfileName


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
    receipt: ReceiptDetail
    output_format: OutputFormat
    return_layers: bool


def request_object(task: Task, photo: Photo | None, fields: Fields) -> dict[str, Any]:
    """The request as a JSON object: pictures as base64, everything else as it was given.

    Raises:
        InvalidRequest: a picture cannot be read.
    """
    request: dict[str, Any] = {"task": task, **fields}
    for name, picture in (("image", photo), ("mask", fields.get("mask"))):
        if picture is not None:
            request[name] = base64.b64encode(picture_file(picture, name)).decode("ascii")
    return request
