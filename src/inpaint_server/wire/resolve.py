"""Optional on the wire, total inside: request, photo and the bundle's defaults become one `AdvertRequest`."""

from __future__ import annotations

import math
from collections.abc import Callable

from inpaint_server.domain.arrays import Pixels, ProductMask
from inpaint_server.domain.geometry import Box, Placement, Point, Size
from inpaint_server.domain.request import (
    MAX_STEPS,
    AdvertRequest,
    BundleDefaults,
    InpaintLayer,
    PlacementRule,
    Region,
    RegionName,
    Sampling,
)
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.composite import default_feather
from inpaint_server.wire.profiles import AD_FORMATS, Effort, Profile, profile_of
from inpaint_server.wire.schema import MAX_SEED, InvocationRequest, WireLayer, WirePlacement


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
        InvalidRequest: a point or box lies outside the photo, or there are more steps than the solver can take.
    """
    canvas = _canvas(wire, defaults)
    first = draw_seed() if wire.seed is None else wire.seed
    profile = profile_of(wire.profile, defaults)
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
        receipt=wire.receipt or ("full" if wire.candidates > 1 else profile.receipt),
        fill=wire.task == "inpaint" and profile.fill and not joint,
        joint=joint,
        upscale=defaults.upscaler,
        check_safety=defaults.safety_checker,
    )


def _canvas(wire: InvocationRequest, defaults: BundleDefaults) -> Size:
    if wire.aspect_ratio is not None:
        return AD_FORMATS[wire.aspect_ratio]
    return Size(height=wire.height or defaults.size.height, width=wire.width or defaults.size.width)


def model_size(canvas: Size, native: Size) -> Size:
    """The size the models paint at: the canvas, or its shape with the pixels they were trained for if those are fewer.

    Beyond the size they were trained for, diffusion models repeat their subject: so the scene is painted small and
    enlarged, and the product laid on it in its own pixels.
    """
    if canvas.pixels <= native.pixels and canvas.height % 8 == canvas.width % 8 == 0:
        return canvas
    shrink = math.sqrt(min(1.0, native.pixels / canvas.pixels))
    height, width = (max(64, 8 * round(side * shrink / 8)) for side in (canvas.height, canvas.width))
    return Size(height=height, width=width)


def _sampling(wire: InvocationRequest, profile: Profile, effort: Effort, defaults: BundleDefaults) -> Sampling:
    interval = wire.guidance_interval
    steps, scheduler = wire.steps or effort.steps, wire.scheduler or profile.scheduler
    if steps > MAX_STEPS.get(scheduler, steps):
        raise InvalidRequest(
            f"Set `steps` to at most {MAX_STEPS[scheduler]}, or another `scheduler`: {scheduler} cannot take {steps}.",
            field="steps",
        )
    default = defaults.guidance_scale if effort.guidance_scale is None else effort.guidance_scale
    return Sampling(
        steps=steps,
        guidance_scale=default if wire.guidance_scale is None else wire.guidance_scale,
        scheduler=scheduler,
        guidance_interval=profile.guidance_interval if interval is None else (interval[0], interval[1]),
        reuse_features=wire.reuse_features or 1,
        few_step_weights=profile.few_step_weights,
    )


def _background_strength(wire: InvocationRequest, profile: Profile) -> float:
    """There is a generated background to keep for the task `advert` alone."""
    if wire.background_strength is not None:
        return wire.background_strength
    return profile.background_strength if wire.task == "advert" else 1.0


def _layers(wire: InvocationRequest, profile: Profile, background_strength: float) -> tuple[InpaintLayer, ...]:
    """The request's passes, or lower with the foreground prompt and then upper with the background prompt."""
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
        for layer in (_default_layers(wire, background_strength) if wire.layers is None else wire.layers)
    )


def _default_layers(wire: InvocationRequest, background_strength: float) -> list[WireLayer]:
    default: tuple[tuple[RegionName, str | None, float], ...] = (
        ("lower", wire.foreground_prompt, 1.0),
        ("upper", wire.background_prompt, background_strength),
    )
    return [
        WireLayer(region=region, prompt=prompt, strength=strength)
        for region, prompt, strength in default
        if prompt is not None
    ]


def _joint(wire: InvocationRequest, profile: Profile) -> bool:
    """The request's own choice, or the profile's where one pass can do everything the request needs."""
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
