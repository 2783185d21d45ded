"""Sampling: what a request's profile and fields resolve to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, BundleDefaults, Sampling
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import validate

ADVERT = {"image": "aGVsbG8=", "background_prompt": "a beach", "foreground_prompt": "sand"}
LAYERS = [{"region": "lower", "prompt": "sand"}, {"region": "upper", "prompt": "sea", "negative_prompt": "boats"}]


def resolved(*, few_step_weights: bool = False, **fields: Any) -> AdvertRequest:
    photo = Pixels(frozen_array(np.zeros((8, 8, 3), np.uint8)))
    defaults = BundleDefaults(size=Size(height=256, width=256), guidance_scale=4.0, few_step_weights=few_step_weights)
    return resolve(validate({**ADVERT, **fields}), photo, None, defaults, draw_seed=lambda: 1)


def test_profile_quality_guides_every_step():
    request = resolved()
    usual = Sampling(steps=25, guidance_scale=4.0, scheduler="dpmpp_2m_karras")
    assert (request.background_sampling, request.pass_sampling, request.joint) == (usual, usual, False)
    assert usual.guidance_interval == (0.0, 1.0)
    assert usual.reuse_features == 1


def test_upper_layer_sees_product_only_in_profile_reference():
    assert [layer.sees_product for layer in resolved().layers] == [True, False]
    assert [layer.sees_product for layer in resolved(profile="seed").layers] == [True, True]
    layers = [*LAYERS, {"region": "around", "prompt": "sea"}, {"region": [0.0, 0.5], "prompt": "sky"}]
    assert [layer.sees_product for layer in resolved(layers=layers).layers] == [True, False, True, True]


def test_profile_reference_equals_seed():
    names = [field.name for field in dataclasses.fields(AdvertRequest) if field.name != "photo"]
    reference, seed = resolved(profile="reference"), resolved(profile="seed")
    assert {name: getattr(reference, name) for name in names} == {name: getattr(seed, name) for name in names}
    assert (reference.background_sampling.steps, reference.pass_sampling.steps) == (50, 100)


def test_savings_are_set_by_their_fields():
    request = resolved(guidance_interval=[0.0, 0.5], reuse_features=2, joint=True)
    for sampling in (request.background_sampling, request.pass_sampling):
        assert sampling.guidance_interval == (0.0, 0.5)
        assert sampling.reuse_features == 2
    assert request.joint


def test_profile_fast_uses_few_step_weights_of_bundle():
    plain, few = resolved(profile="fast"), resolved(profile="fast", few_step_weights=True)
    assert not plain.pass_sampling.few_step_weights
    wanted = Sampling(steps=8, guidance_scale=1.0, scheduler="lcm", few_step_weights=True)
    assert (few.background_sampling, few.pass_sampling) == (wanted, wanted)
    assert not resolved(few_step_weights=True).pass_sampling.few_step_weights, "quality keeps the usual ones"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"guidance_interval": [0.5, 0.5]},
            "Change `guidance_interval`: an interval is [start, end] with start < end.",
        ),
        (
            {"guidance_interval": [0.5, 2.0]},
            "Change `guidance_interval[1]`: input should be less than or equal to 1.",
        ),
        ({"reuse_features": 0}, "Change `reuse_features`: input should be greater than or equal to 1."),
        ({"joint": 1}, "Change `joint`: input should be a valid boolean."),
        ({"joint": True, "background_strength": 0.5}, "A joint pass starts from noise alone: leave the strength out."),
        ({"background_strength": 0.0}, "Change `background_strength`: input should be greater than 0."),
        ({"joint": True, "layers": LAYERS}, "Give all layers of a joint pass the same `negative_prompt`."),
    ],
)
def test_invalid_sampling_field_is_refused(fields: dict[str, Any], sentence: str):
    with pytest.raises(InvalidRequest) as refused:
        resolved(**fields)
    assert refused.value.message == sentence


def test_profile_fast_joins_layers_only_where_possible():
    assert resolved(profile="fast").joint
    assert not resolved(profile="fast", layers=LAYERS).joint
    assert not resolved(profile="fast", joint=False).joint
    assert not resolved(profile="fast", background_strength=0.5).joint


@pytest.mark.parametrize(
    ("fields", "receipt"),
    [
        ({}, "full"),
        ({"profile": "reference"}, "full"),
        ({"profile": "fast"}, "quick"),
        ({"profile": "fast", "few_step_weights": True}, "quick"),
        ({"profile": "fast", "candidates": 2}, "full"),
        ({"profile": "fast", "receipt": "full"}, "full"),
        ({"candidates": 2, "receipt": "quick"}, "quick"),
    ],
)
def test_receipt_is_full_but_where_speed_is_asked_for(fields: dict[str, Any], receipt: str):
    assert resolved(**fields).receipt == receipt


@pytest.mark.parametrize(
    ("fields", "strengths"),
    [
        ({}, [1.0, 0.7]),
        ({"profile": "seed"}, [1.0, 1.0]),
        ({"background_strength": 0.4}, [1.0, 0.4]),
        ({"task": "inpaint"}, [1.0, 1.0]),
        ({"layers": [{"region": "around", "prompt": "sea", "strength": 0.3}]}, [0.3]),
        ({"joint": True}, [1.0, 1.0]),
    ],
)
def test_layer_strengths(fields: dict[str, Any], strengths: list[float]):
    assert [layer.strength for layer in resolved(**fields).layers] == strengths


@pytest.mark.parametrize(
    ("fields", "fill"),
    [({"task": "inpaint"}, True), ({}, False), ({"task": "inpaint", "profile": "seed"}, False)],
)
def test_fill_only_for_task_inpaint(fields: dict[str, Any], *, fill: bool):
    assert resolved(**fields).fill == fill


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"scheduler": "lcm", "steps": 51}, 51),
        ({"scheduler": "lcm", "profile": "reference"}, 100),
        ({"scheduler": "lcm", "steps": 250, "task": "inpaint"}, 250),
        ({"profile": "fast", "few_step_weights": True, "steps": 60}, 60),
    ],
)
def test_more_steps_than_solver_takes_are_refused(fields: dict[str, Any], steps: int):
    with pytest.raises(InvalidRequest) as refused:
        resolved(**fields)
    expected = f"Set `steps` to at most 50, or another `scheduler`: lcm cannot take {steps}."
    assert (refused.value.field, refused.value.message) == ("steps", expected)


def test_as_many_steps_as_solver_takes_are_resolved():
    assert resolved(scheduler="lcm", steps=50).pass_sampling.steps == 50
    assert resolved(scheduler="lcm", steps=50, profile="reference").background_sampling.steps == 50
