"""Answers for programs and notebooks: pictures as `PIL.Image`, figures as typed values."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from inpaint_server.client import display
from inpaint_server.domain.request import OutputFormat
from inpaint_server.errors import Unreachable
from inpaint_server.wire.answers import (
    AnsweredImage,
    AnsweredLayers,
    AnsweredModel,
    AnsweredPlacement,
    AnsweredReceipt,
    AnsweredSafety,
    AnsweredTimings,
    InvocationAnswer,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """The intermediate pictures of one picture (`return_layers`), each of the canvas's size.

    Attributes:
        mask: White = product, where it was placed.
        background: The generated scene; None where the task generates none.
        passes: The canvas after each pass.
        product_box: (left, top, right, bottom) of the product on the canvas, pixels.
    """

    mask: Image.Image
    background: Image.Image | None
    passes: tuple[Image.Image, ...]
    product_box: tuple[int, int, int, int]

    def named(self) -> list[tuple[str, Image.Image]]:
        """Every layer in the order of the stages, with its name."""
        background = [] if self.background is None else [("background", self.background)]
        return [("mask", self.mask), *background, *((f"pass {n}", p) for n, p in enumerate(self.passes, start=1))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One picture of an answer.

    Attributes:
        image: Its pixels.
        data: Its file, as the server encoded it.
        format: What that file is.
        seed: What it was drawn from; None for the task `mask`.
        score: Task `mask`: how good the mask is by the segmenter's own judgement, [0, 1].
        placement: Where the product stands; its `scale`, `x`, `y` can be sent back.
        receipt: What was done to the picture, in figures.
        safety: The verdict of the bundle's safety checker; None where it has none.
        layers: The intermediate pictures, if `return_layers` was set.
    """

    image: Image.Image
    data: bytes
    format: OutputFormat
    seed: int | None
    score: float | None
    placement: AnsweredPlacement | None
    receipt: AnsweredReceipt | None
    safety: AnsweredSafety | None
    layers: Layers | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the server's own file: no pixel is encoded again."""
        Path(path).write_bytes(self.data)

    def _repr_html_(self) -> str:
        return _figure(self)

    def _repr_png_(self) -> bytes:
        return display.png(self.image)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """Everything a server answered to one request.

    Attributes:
        pictures: At least one.
        format: What their files are.
        width: Of each picture, pixels.
        height: Of each picture, pixels.
        timings_ms: Where the time went.
        model: What drew them.
        warnings: Sentences about what was adjusted, or may be wrong.
        request_id: To find in the server's log.
    """

    pictures: tuple[Picture, ...]
    format: OutputFormat
    width: int
    height: int
    timings_ms: AnsweredTimings
    model: AnsweredModel
    warnings: tuple[str, ...]
    request_id: str

    @property
    def image(self) -> Image.Image:
        """The first picture's pixels."""
        return self.pictures[0].image

    @classmethod
    def from_json(cls, body: bytes | str) -> Result:
        """An answer's JSON: a reply's body, or a line of what Batch Transform wrote.

        Raises:
            Unreachable: it is no answer of an inpaint-server.
        """
        try:
            answer = InvocationAnswer.model_validate_json(body)
        except ValidationError:
            raise Unreachable("Check the address: the answer is not one of an inpaint-server.") from None
        return cls(
            pictures=tuple(_picture(image, answer.format) for image in answer.images),
            format=answer.format,
            width=answer.width,
            height=answer.height,
            timings_ms=answer.timings_ms,
            model=answer.model,
            warnings=tuple(answer.warnings),
            request_id=answer.request_id,
        )

    def _repr_html_(self) -> str:
        return display.answer([_figure(picture) for picture in self.pictures], self.warnings)

    def _repr_png_(self) -> bytes:
        return display.png(self.image)


def _figure(picture: Picture) -> str:
    title = "mask" if picture.seed is None else f"seed {picture.seed}"
    return display.figure(title, picture.image, picture.layers.named() if picture.layers else [])


def _picture(answered: AnsweredImage, form: OutputFormat) -> Picture:
    data = base64.b64decode(answered.image)
    return Picture(
        image=_open(data),
        data=data,
        format=form,
        seed=answered.seed,
        score=answered.score,
        placement=answered.placement,
        receipt=answered.receipt,
        safety=answered.safety,
        layers=None if answered.layers is None else _layers(answered.layers),
    )


def _layers(answered: AnsweredLayers) -> Layers:
    left, top, right, bottom = answered.layout["product"]
    return Layers(
        mask=_open(base64.b64decode(answered.mask)),
        background=None if answered.background is None else _open(base64.b64decode(answered.background)),
        passes=tuple(_open(base64.b64decode(canvas)) for canvas in answered.passes),
        product_box=(left, top, right, bottom),
    )


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    image.load()
    return image
