"""The wire's answers. JSON Schema and OpenAPI come from here and from `wire.schema` alone."""

from __future__ import annotations

from pydantic import BaseModel, Field

from inpaint_server.domain.request import OutputFormat


class AnsweredPlacement(BaseModel):
    """Where the product stands on the finished picture; `scale`, `x`, `y` can be sent back as `placement`."""

    scale: float
    x: float
    y: float
    split: float | None = Field(
        default=None, description="The line between lower and upper layer, fraction of the height."
    )


class AnsweredLayers(BaseModel):
    """The steps in between (`return_layers`), pictures as base64."""

    mask: str
    background: str | None = None
    passes: list[str]
    layout: dict[str, list[int]] = Field(description="`product`: its box [left, top, right, bottom] on the canvas.")


class AnsweredReceipt(BaseModel):
    """What was done to the picture, in figures."""

    identity: int | None = Field(
        default=None,
        description="Largest difference from the placed product where it is opaque, its soft edge aside; 0 = "
        "untouched. Left out where it is opaque nowhere.",
    )
    compared: float = Field(description="The fraction of the product's area that `identity` compares.")
    expansion: float | None = Field(
        default=None,
        description="How much the product seems to have grown, fraction of its area. Left out with `receipt` `quick`, "
        "and where it cannot be read: the product is only a few pixels or a line, or something else is in its place.",
    )
    seam: float = Field(description="Colour step where passes meet, over that of their surroundings; 1 = none shows.")
    agreement: float | None = Field(
        default=None,
        description="With `candidates`: how well the picture matches its prompts, at most 1; for comparison only.",
    )


class AnsweredSafety(BaseModel):
    """What the bundle's safety checker found, where it has one."""

    refused_seeds: list[int] = Field(description="Seeds whose pictures it took for unsafe; others were tried instead.")
    withheld: bool = Field(description="Whether it took all of them for unsafe: the picture is blurred.")


class AnsweredImage(BaseModel):
    """One picture."""

    image: str = Field(description="Base64.")
    seed: int | None = None
    score: float | None = Field(default=None, description="Task mask: predicted intersection over union.")
    placement: AnsweredPlacement | None = None
    receipt: AnsweredReceipt | None = None
    safety: AnsweredSafety | None = None
    layers: AnsweredLayers | None = None


class AnsweredTimings(BaseModel):
    """Milliseconds of each stage; stages of several pictures are added up."""

    decode: float
    segment: float
    background: float
    passes: list[float]
    composite: float
    encode: float
    queue: float
    total: float


class AnsweredModel(BaseModel):
    """What is loaded."""

    bundle: str
    device: str
    dtype: str
    attention: str


class InvocationAnswer(BaseModel):
    """The answer as `application/json`."""

    images: list[AnsweredImage]
    format: OutputFormat
    width: int
    height: int
    timings_ms: AnsweredTimings
    model: AnsweredModel
    warnings: list[str]
    request_id: str


class ErrorBody(BaseModel):
    """The error, in one sentence that says what to change."""

    code: str
    message: str
    field: str | None = None
    request_id: str


class ErrorAnswer(BaseModel):
    """The answer to a request that failed, as `InpaintServerError.to_json` writes it."""

    error: ErrorBody
