"""The wire's requests: fields, limits and defaults. JSON Schema and OpenAPI come from here and `wire.answers` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from inpaint_server.domain.request import OutputFormat, ReceiptDetail, RegionName, Scheduler, Task
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.names import LAYER, PLACEMENT, REQUEST, about_unknown

AspectRatio = Literal["1:1", "4:5", "9:16", "16:9", "1.91:1"]
ProfileName = Literal["quality", "fast", "seed", "reference"]
Strength = Annotated[float, Field(gt=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Side = Annotated[int, Field(ge=64, le=2048, multiple_of=8, description="Pixels, a multiple of 8.")]
Prompt = Annotated[str, Field(max_length=2000)]
MAX_SEED = 2**32 - 1


class _Wire(BaseModel):
    """Strict about meaning: no unknown field, no coercion between types, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _other_spellings(cls, fields: Any) -> Any:
        """A null is a field left out, and a whole number may be written with a point."""
        if not isinstance(fields, dict):
            return fields
        named = cast("dict[str, Any]", fields)
        return {name: _whole(value) for name, value in named.items() if value is not None}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class WirePlacement(_Wire):
    """A placement in numbers."""

    scale: float = Field(gt=0.0, le=16.0, description="Product box's longer side over the canvas's shorter side.")
    x: Fraction = Field(description="The box's bottom centre, fraction of the canvas's width.")
    y: Fraction = Field(description="The box's bottom, fraction of the canvas's height.")


class WireLayer(_Wire):
    """One inpainting pass."""

    region: RegionName | Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(
        description="What is repainted, the product excepted: a name, or rows [y0, y1] in fractions of the height."
    )
    prompt: Prompt
    negative_prompt: Prompt | None = Field(default=None, description="Default: the request's negative_prompt.")
    strength: Strength = Field(default=1.0, description="How much of what was there may change; 1: nothing is kept.")

    @field_validator("region")
    @classmethod
    def _rows_in_order(cls, region: RegionName | list[float]) -> RegionName | list[float]:
        if isinstance(region, list) and region[0] >= region[1]:
            raise ValueError("the first row must be above the second")
        return region


class InvocationRequest(_Wire):
    """One request object, as it stands in a JSON body, a line of JSON Lines or a multipart form."""

    task: Task = Field(default="advert", description="The whole pipeline, or one stage of it.")
    image: str | None = Field(
        default=None,
        description="The product photo: base64 or data URL of a picture's file; alpha is coverage.",
    )
    mask: str | None = Field(
        default=None, description="Base64 picture, white = product, grey = partly; skips segmentation."
    )
    points: list[Annotated[list[float], Field(min_length=3, max_length=3)]] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Segment Anything prompt points [x, y, label] in pixels of the photo; label 1 = product, 0 = not.",
    )
    box: Annotated[list[float], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="Segment Anything prompt box [x0, y0, x1, y1] in pixels of the photo."
    )
    background_prompt: Prompt | None = Field(
        default=None,
        validation_alias=AliasChoices("background_prompt", "prompt_bg"),
        description="The scene (also `prompt_bg`).",
    )
    foreground_prompt: Prompt | None = Field(
        default=None,
        validation_alias=AliasChoices("foreground_prompt", "prompt_fr"),
        description="What the product stands on (also `prompt_fr`).",
    )
    negative_prompt: Prompt = Field(default="", description="For every diffusion pass.")
    layers: list[WireLayer] | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        description="Passes in order; default: lower with the foreground prompt, upper with the background prompt.",
    )
    aspect_ratio: AspectRatio | None = Field(
        default=None, description="The canvas by the name of an ad format, instead of `width` and `height`."
    )
    width: Side | None = Field(default=None, description="Canvas width, pixels; default the bundle's native width.")
    height: Side | None = Field(default=None, description="Canvas height, pixels; default the bundle's native height.")
    placement: Literal["random", "centre", "original"] | WirePlacement | None = Field(
        default=None, description="Where the product stands; default random (task inpaint: original)."
    )
    num_images: int = Field(default=1, ge=1, le=8, description="Variations; picture i uses seed + i.")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="Default: drawn, and in the answer.")
    profile: ProfileName = Field(
        default="quality", description="Named settings; `reference` (also `seed`) = the replaced sample's own."
    )
    steps: int | None = Field(default=None, ge=1, le=250, description="Scheduler steps of every pass.")
    guidance_scale: float | None = Field(default=None, ge=0.0, le=50.0, description="Classifier-free guidance.")
    scheduler: Scheduler | None = Field(default=None, description="The solver.")
    guidance_interval: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="Part of the steps that is guided, [start, end] in fractions of them."
    )
    reuse_features: int | None = Field(
        default=None,
        ge=1,
        le=8,
        description="Every how many steps the model's inner layers are computed anew; 1 = in each.",
    )
    joint: bool | None = Field(
        default=None, description="Paint all layers in one pass, each with its prompt, instead of one after the other."
    )
    feather: int | None = Field(default=None, ge=0, le=64, description="Soft edge around the product, canvas pixels.")
    background_strength: Strength | None = Field(
        default=None,
        description="How much of the generated background the default upper pass may change; default the profile's.",
    )
    shadow: Fraction = Field(default=0.4, description="How dark the ground is where the product touches it; 0: none.")
    reflection: Fraction = Field(default=0.0, description="How much of the product the ground mirrors; 0: nothing.")
    light_match: Fraction = Field(
        default=0.0, description="How much of the scene's light falls on the product; 0: its pixels stay as they are."
    )
    candidates: int = Field(
        default=1,
        ge=1,
        le=8,
        description="Pictures drawn for each one answered; the one with the fewest faults is kept.",
    )
    receipt: ReceiptDetail | None = Field(
        default=None,
        description="What is measured of each picture: everything, or with `quick` no `expansion`, for which it has to "
        "be segmented; default the profile's, and `full` with `candidates`.",
    )
    output_format: OutputFormat = Field(default="png", description="How pictures are encoded.")
    return_layers: bool = Field(default=False, description="Also return mask, background, passes and layout.")

    @field_validator("points")
    @classmethod
    def _labels_are_0_or_1(cls, points: list[list[float]] | None) -> list[list[float]] | None:
        if any(label not in (0, 1) for _, _, label in points or ()):
            raise ValueError("a point is [x, y, label] and label is 1 (product) or 0 (not product)")
        return points

    @field_validator("box")
    @classmethod
    def _box_has_an_area(cls, box: list[float] | None) -> list[float] | None:
        if box and (box[0] >= box[2] or box[1] >= box[3]):
            raise ValueError("a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
        return box

    @field_validator("guidance_interval")
    @classmethod
    def _starts_before_it_ends(cls, interval: list[float] | None) -> list[float] | None:
        if interval and interval[0] >= interval[1]:
            raise ValueError("an interval is [start, end] with start < end")
        return interval

    @model_validator(mode="after")
    def _one_pass_has_one_negative_prompt(self) -> InvocationRequest:
        if self.joint and len({layer.negative_prompt for layer in self.layers or ()}) > 1:
            raise InvalidRequest("Give all layers of a joint pass the same `negative_prompt`.", field="layers")
        kept = self.background_strength or min((layer.strength for layer in self.layers or ()), default=1)
        if self.joint and kept < 1:
            raise InvalidRequest("A joint pass starts from noise alone: leave the strength out.", field="joint")
        return self

    @model_validator(mode="after")
    def _canvas_is_given_once(self) -> InvocationRequest:
        if self.aspect_ratio is not None and (self.width is not None or self.height is not None):
            raise InvalidRequest("Give `aspect_ratio`, or `width` and `height`, not both.", field="aspect_ratio")
        return self

    @model_validator(mode="after")
    def _task_has_what_it_needs(self, info: ValidationInfo) -> InvocationRequest:
        has_image = self.image is not None or bool(info.context and info.context["has_image"])
        if self.task != "background" and not has_image:
            raise InvalidRequest("Send the product photo as `image`.", field="image")
        if self.task in ("advert", "background") and self.background_prompt is None:
            raise InvalidRequest("Describe the scene in `background_prompt`.", field="background_prompt")
        if self.layers is None and self.foreground_prompt is None:
            if self.task == "advert":
                raise InvalidRequest(
                    "Say in `foreground_prompt` what the product stands on, or give `layers`.",
                    field="foreground_prompt",
                )
            if self.task == "inpaint" and self.background_prompt is None:
                raise InvalidRequest(
                    "Give `foreground_prompt`, `background_prompt` or `layers`: nothing says what to paint.",
                    field="layers",
                )
        return self


def validate(fields: Mapping[str, Any], *, has_image: bool = False) -> InvocationRequest:
    """Check a request object.

    Args:
        fields: As JSON gives them.
        has_image: Whether the photo was sent beside them.

    Raises:
        InvalidRequest: with the first wrong field and what it should be.
    """
    try:
        return InvocationRequest.model_validate(dict(fields), context={"has_image": has_image})
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> InvalidRequest:
    """One sentence for the first wrong field; among a union's alternatives, for the one that came furthest."""
    errors = error.errors(include_url=False)
    field = str(errors[0]["loc"][0])
    furthest = max(
        (e for e in errors if e["loc"][0] == field), key=lambda e: (len(e["loc"]), e["type"] == "extra_forbidden")
    )
    if furthest["type"] == "extra_forbidden":
        return InvalidRequest(_about_unknown(furthest["loc"]), field=field)
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _path(furthest["loc"])).lstrip(".")
    message = furthest["msg"].removeprefix("Value error, ")
    return InvalidRequest(f"Change `{where}`: {message[:1].lower()}{message[1:]}.", field=field)


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    """The location without the names pydantic gives to a union's alternatives."""
    return [part for part in location if isinstance(part, int) or (part.isidentifier() and part[0].islower())]


_SAME: Final = {"prompt_bg": "background_prompt", "prompt_fr": "foreground_prompt"}
_FIELDS: Final = {
    REQUEST: [*InvocationRequest.model_fields, *_SAME],
    LAYER: [*WireLayer.model_fields],
    PLACEMENT: [*WirePlacement.model_fields],
}


def _about_unknown(location: tuple[int | str, ...]) -> str:
    name = str(location[-1])
    if len(location) == 1 and name in _FIELDS[REQUEST]:  # the other name of a field that is there already
        others = {**_SAME, **{ours: other for other, ours in _SAME.items()}}
        return f"Send `{name}` or `{others[name]}`, not both."
    place = REQUEST if len(location) == 1 else LAYER if location[0] == "layers" else PLACEMENT
    return about_unknown(name, place, _FIELDS)
