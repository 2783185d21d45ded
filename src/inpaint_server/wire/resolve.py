"""Optional on the wire, total inside: request, photo and the bundle's defaults become one `AdvertRequest`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Box, Placement, Point, Size
from inpaint_server.domain.request import (
    AdvertRequest,
    BundleDefaults,
    InpaintLayer,
    PlacementRule,
    Region,
    RegionName,
    Sampling,
    Scheduler,
)
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.composite import default_feather
from inpaint_server.wire.schema import MAX_SEED, AspectRatio, InvocationRequest, Profile, WireLayer, WirePlacement


def resolve(
    wire: InvocationRequest,
    photo: Pixels | None,
    mask: ProductMask | None,
    defaults: BundleDefaults,
    *,
    draw_seed: Callable[[], int],
) -> AdvertRequest:
    """Decide everything the request left open.

    Args:
        wire: The checked request.
        photo: The decoded photo, H x W x 3; None where the task needs none.
        mask: The product's mask where the caller gave one.
        defaults: What the bundle decides.
        draw_seed: Called where the request gives no seed.

    Raises:
        InvalidRequest: a point or box lies outside the photo.
    """
    canvas = _canvas(wire, defaults)
    first = draw_seed() if wire.seed is None else wire.seed
    profile = _profile(wire, defaults)
    joint = _joint(wire, profile)
    return AdvertRequest(
        task=wire.task,
        photo=None if wire.task == "background" else photo,
        mask=mask,
        points=_points(wire, photo),
        box=_box(wire, photo),
        background_prompt=wire.background_prompt or "",
        negative_prompt=wire.negative_prompt,
        layers=_layers(wire, profile, 1.0 if joint else _background_strength(wire, profile)),
        canvas=canvas,
        model_size=model_size(canvas, defaults.size),
        placement=_placement(wire),
        seeds=tuple((first + i) % (MAX_SEED + 1) for i in range(wire.num_images)),
        background_sampling=_sampling(wire, profile, profile.background, defaults),
        pass_sampling=_sampling(wire, profile, profile.passes, defaults),
        feather=default_feather(canvas) if wire.feather is None else wire.feather,
        shadow=wire.shadow,
        reflection=wire.reflection,
        light_match=wire.light_match,
        candidates=wire.candidates,
        fill=wire.task == "inpaint" and profile.fill and not joint,
        joint=joint,
        output_format=wire.output_format,
        return_layers=wire.return_layers,
        upscale=defaults.upscaler,
        check_safety=defaults.safety_checker,
        asked=wire.model_dump(mode="json", exclude=_NOT_THE_PICTURE, exclude_unset=True),
    )


_NOT_THE_PICTURE: Final = {"image", "mask", "seed", "num_images", "candidates", "output_format", "return_layers"}
"""Fields that do not decide how one picture of a photo, a mask and a seed looks, and these three."""


@dataclass(frozen=True, slots=True)
class _Effort:
    """Steps and guidance of a kind of pass; guidance None is the bundle's own."""

    steps: int
    guidance_scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    scheduler: Scheduler
    background: _Effort
    passes: _Effort
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    joint: bool = False
    background_strength: float = 1.0
    fill: bool = True
    upper_sees_product: bool = False
    few_step_weights: bool = False


_PROFILES: Final[dict[Profile, _Profile]] = {
    "quality": _Profile(
        scheduler="dpmpp_2m_karras", background=_Effort(25), passes=_Effort(25), background_strength=0.7
    ),
    # One pass of 11 steps with a row for each of two prompts and one for guidance: 33 evaluations.
    "fast": _Profile(scheduler="dpmpp_2m_karras", background=_Effort(11), passes=_Effort(11), joint=True),
    # The replaced sample's own numbers; its solver is the one Stable Diffusion 1.5 was published with.
    "seed": _Profile(
        scheduler="pndm",
        background=_Effort(50, 10.0),
        passes=_Effort(100, 8.5),
        fill=False,
        upper_sees_product=True,
    ),
}
# `fast` where the bundle carries weights for it (Luo et al., Latent Consistency Models, 2023): these know guidance
# already, so each step is one evaluation.
_FEW_STEPS: Final = _Profile(
    scheduler="lcm", background=_Effort(8, 1.0), passes=_Effort(8, 1.0), joint=True, few_step_weights=True
)


_AD_FORMATS: Final[dict[AspectRatio, Size]] = {
    "1:1": Size(width=1080, height=1080),
    "4:5": Size(width=1080, height=1350),
    "9:16": Size(width=1080, height=1920),
    "16:9": Size(width=1920, height=1080),
    "1.91:1": Size(width=1200, height=628),
}
"""The pixels that advertising platforms ask for under these names."""


def _canvas(wire: InvocationRequest, defaults: BundleDefaults) -> Size:
    if wire.aspect_ratio is not None:
        return _AD_FORMATS[wire.aspect_ratio]
    return Size(height=wire.height or defaults.size.height, width=wire.width or defaults.size.width)


def model_size(canvas: Size, native: Size) -> Size:
    """What the models paint: the canvas, or its shape with as many pixels as they were trained for if that is fewer.

    Beyond the size they were trained for, diffusion models repeat their subject: so the scene is painted small and
    enlarged, and the product laid on it in its own pixels.
    """
    if canvas.pixels <= native.pixels and canvas.height % 8 == canvas.width % 8 == 0:
        return canvas
    shrink = math.sqrt(min(1.0, native.pixels / canvas.pixels))
    height, width = (max(64, 8 * round(side * shrink / 8)) for side in (canvas.height, canvas.width))
    return Size(height=height, width=width)


def _profile(wire: InvocationRequest, defaults: BundleDefaults) -> _Profile:
    return _FEW_STEPS if wire.profile == "fast" and defaults.few_step_weights else _PROFILES[wire.profile]


def _sampling(wire: InvocationRequest, profile: _Profile, effort: _Effort, defaults: BundleDefaults) -> Sampling:
    interval = wire.guidance_interval
    usual = defaults.guidance_scale if effort.guidance_scale is None else effort.guidance_scale
    return Sampling(
        steps=wire.steps or effort.steps,
        guidance_scale=usual if wire.guidance_scale is None else wire.guidance_scale,
        scheduler=wire.scheduler or profile.scheduler,
        guidance_interval=profile.guidance_interval if interval is None else (interval[0], interval[1]),
        reuse_features=wire.reuse_features or 1,
        few_step_weights=profile.few_step_weights,
    )


def _background_strength(wire: InvocationRequest, profile: _Profile) -> float:
    """There is a generated background to keep for the task `advert` alone."""
    if wire.background_strength is not None:
        return wire.background_strength
    return profile.background_strength if wire.task == "advert" else 1.0


def _layers(wire: InvocationRequest, profile: _Profile, background_strength: float) -> tuple[InpaintLayer, ...]:
    """The passes asked for, or lower with the foreground prompt and then upper with the background prompt."""
    if wire.task in ("mask", "background"):
        return ()
    return tuple(
        InpaintLayer(
            region=_region(layer),
            prompt=layer.prompt,
            negative_prompt=wire.negative_prompt if layer.negative_prompt is None else layer.negative_prompt,
            strength=layer.strength,
            sees_product=layer.region != "upper" or profile.upper_sees_product,
        )
        for layer in (_usual_layers(wire, background_strength) if wire.layers is None else wire.layers)
    )


def _usual_layers(wire: InvocationRequest, background_strength: float) -> list[WireLayer]:
    usual: tuple[tuple[RegionName, str | None, float], ...] = (
        ("lower", wire.foreground_prompt, 1.0),
        ("upper", wire.background_prompt, background_strength),
    )
    return [
        WireLayer(region=region, prompt=prompt, strength=strength)
        for region, prompt, strength in usual
        if prompt is not None
    ]


def _joint(wire: InvocationRequest, profile: _Profile) -> bool:
    """As asked, or as the profile has it where one pass can do what the request says."""
    if wire.joint is not None:
        return wire.joint
    layers = wire.layers or ()
    kept = wire.background_strength is not None or any(layer.strength < 1 for layer in layers)
    return profile.joint and not kept and len({layer.negative_prompt for layer in layers}) <= 1


def _region(layer: WireLayer) -> Region:
    return layer.region if isinstance(layer.region, str) else (layer.region[0], layer.region[1])


def _placement(wire: InvocationRequest) -> PlacementRule:
    if isinstance(wire.placement, WirePlacement):
        return Placement(scale=wire.placement.scale, x=wire.placement.x, y=wire.placement.y)
    return wire.placement or ("original" if wire.task == "inpaint" else "random")


def _points(wire: InvocationRequest, photo: Pixels | None) -> tuple[Point, ...]:
    points = tuple(Point(x=x, y=y, label=int(label)) for x, y, label in wire.points or ())
    if photo is not None:
        for point in points:
            _check_inside(point.x, point.y, photo, "points")
    return points


def _box(wire: InvocationRequest, photo: Pixels | None) -> Box | None:
    if wire.box is None:
        return None
    left, top, right, bottom = (round(side) for side in wire.box)
    if photo is not None:
        _check_inside(left, top, photo, "box")
        _check_inside(right - 1, bottom - 1, photo, "box")
    return Box(left=left, top=top, right=right, bottom=bottom)


def _check_inside(x: float, y: float, photo: Pixels, field: str) -> None:
    height, width = photo.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise InvalidRequest(
            f"Move `{field}` inside the photo: [{x:g}, {y:g}] is not within its {width} x {height} pixels.", field=field
        )
