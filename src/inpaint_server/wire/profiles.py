"""Named settings and ad formats: what a request's `profile` and `aspect_ratio` stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults, ReceiptDetail, Scheduler
from inpaint_server.wire.schema import AspectRatio, ProfileName


@dataclass(frozen=True, slots=True)
class Effort:
    """Steps and guidance scale of a kind of pass; guidance scale None is the bundle's own."""

    steps: int
    guidance_scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Settings for what a request leaves open.

    Attributes:
        scheduler: The solver.
        background: For the generated background.
        passes: For the inpainting passes.
        guidance_interval: Part of the steps that is guided, as fractions [start, end) of them.
        joint: Whether all layers are painted in one pass.
        background_strength: Of the default upper pass.
        fill: Whether the task `inpaint` fills what it repaints from the surroundings first.
        upper_sees_product: Whether the product is in the canvas while an upper layer is painted.
        few_step_weights: Whether the bundle's weights for few steps are used.
        receipt: What is measured of each picture.
    """

    scheduler: Scheduler
    background: Effort
    passes: Effort
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    joint: bool = False
    background_strength: float = 1.0
    fill: bool = True
    upper_sees_product: bool = False
    few_step_weights: bool = False
    receipt: ReceiptDetail = "full"


# The replaced sample's own numbers; its solver is the one Stable Diffusion 1.5 was published with.
_REFERENCE: Final = Profile(
    scheduler="pndm", background=Effort(50, 10.0), passes=Effort(100, 8.5), fill=False, upper_sees_product=True
)
_PROFILES: Final[Mapping[ProfileName, Profile]] = {
    "quality": Profile(scheduler="dpmpp_2m_karras", background=Effort(25), passes=Effort(25), background_strength=0.7),
    # One pass of 11 steps with a row for each of two prompts and one for guidance: 33 evaluations.
    "fast": Profile(scheduler="dpmpp_2m_karras", background=Effort(11), passes=Effort(11), joint=True, receipt="quick"),
    "seed": _REFERENCE,
    "reference": _REFERENCE,
}
# `fast` where the bundle carries weights for it (Luo et al., Latent Consistency Models, 2023): these know guidance
# already, so each step is one evaluation.
_FEW_STEPS: Final = Profile(
    scheduler="lcm",
    background=Effort(8, 1.0),
    passes=Effort(8, 1.0),
    joint=True,
    few_step_weights=True,
    receipt="quick",
)

AD_FORMATS: Final[Mapping[AspectRatio, Size]] = {
    "1:1": Size(width=1080, height=1080),
    "4:5": Size(width=1080, height=1350),
    "9:16": Size(width=1080, height=1920),
    "16:9": Size(width=1920, height=1080),
    "1.91:1": Size(width=1200, height=628),
}
"""The pixels that advertising platforms expect under these names."""


def profile_of(name: ProfileName, defaults: BundleDefaults) -> Profile:
    """The settings of a name, for what the bundle carries."""
    return _FEW_STEPS if name == "fast" and defaults.few_step_weights else _PROFILES[name]
