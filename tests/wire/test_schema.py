"""Request fields: their defaults, and the sentence each wrong one is refused with."""

from __future__ import annotations

from typing import Any

import pytest

from inpaint_server.errors import InvalidRequest
from inpaint_server.wire import openapi
from inpaint_server.wire.schema import InvocationRequest, validate

PHOTO = {"image": "aGVsbG8="}
ADVERT = {**PHOTO, "background_prompt": "a beach", "foreground_prompt": "sand"}


def test_smallest_advert_gets_defaults():
    request = validate(ADVERT)
    assert (request.task, request.num_images, request.profile, request.output_format) == ("advert", 1, "quality", "png")
    assert (request.seed, request.width, request.placement, request.return_layers) == (None, None, None, False)


def test_replaced_sample_prompt_names():
    request = validate({**PHOTO, "prompt_bg": "a beach", "prompt_fr": "sand"})
    assert (request.background_prompt, request.foreground_prompt) == ("a beach", "sand")


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"widht": 64}, "widht", "`widht` is not a field: write `width`, or leave it out."),
        ({"foreground": "x"}, "foreground", "`foreground` is called `foreground_prompt` here."),
        ({"prompt_bg": "x"}, "prompt_bg", "Send `prompt_bg` or `background_prompt`, not both."),
        ({"width": 65}, "width", "Change `width`: input should be a multiple of 8."),
        ({"width": 56}, "width", "Change `width`: input should be greater than or equal to 64."),
        ({"height": 2056}, "height", "Change `height`: input should be less than or equal to 2048."),
        ({"width": "512"}, "width", "Change `width`: input should be a valid integer."),
        ({"width": 512.5}, "width", "Change `width`: input should be a valid integer."),
        ({"num_images": 0}, "num_images", "Change `num_images`: input should be greater than or equal to 1."),
        ({"num_images": 9}, "num_images", "Change `num_images`: input should be less than or equal to 8."),
        ({"num_images": True}, "num_images", "Change `num_images`: input should be a valid integer."),
        ({"seed": -1}, "seed", "Change `seed`: input should be greater than or equal to 0."),
        ({"seed": 2**32}, "seed", "Change `seed`: input should be less than or equal to 4294967295."),
        (
            {"guidance_scale": float("nan")},
            "guidance_scale",
            "Change `guidance_scale`: input should be a finite number.",
        ),
        (
            {"guidance_scale": float("inf")},
            "guidance_scale",
            "Change `guidance_scale`: input should be a finite number.",
        ),
        ({"steps": 0}, "steps", "Change `steps`: input should be greater than or equal to 1."),
        ({"task": "paint"}, "task", "Change `task`: input should be 'advert', 'mask', 'background' or 'inpaint'."),
        ({"layers": []}, "layers", "Change `layers`: list should have at least 1 item after validation, not 0."),
        (
            {"layers": [{"region": "uper", "prompt": "x"}]},
            "layers",
            "Change `layers[0].region`: input should be 'lower', 'upper' or 'around'.",
        ),
        (
            {"layers": [{"region": [0.7, 0.2], "prompt": "x"}]},
            "layers",
            "Change `layers[0].region`: the first row must be above the second.",
        ),
        (
            {"layers": [{"region": "lower", "promt": "x"}]},
            "layers",
            "`promt` is not a field: write `prompt`, or leave it out.",
        ),
        ({"placement": "left"}, "placement", "Change `placement`: input should be 'random', 'centre' or 'original'."),
        (
            {"placement": {"scale": 0.5, "x": 0.5, "y": 1.5}},
            "placement",
            "Change `placement.y`: input should be less than or equal to 1.",
        ),
        (
            {"points": [[1, 2]]},
            "points",
            "Change `points[0]`: list should have at least 3 items after validation, not 2.",
        ),
        (
            {"points": [[1, 2, 3]]},
            "points",
            "Change `points`: a point is [x, y, label] and label is 1 (product) or 0 (not product).",
        ),
        ({"box": [9, 0, 3, 5]}, "box", "Change `box`: a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1."),
        ({"image": 5}, "image", "Change `image`: input should be a valid string."),
    ],
)
def test_wrong_field_is_named_with_correction(change: dict[str, Any], field: str, sentence: str):
    with pytest.raises(InvalidRequest) as refused:
        validate({**ADVERT, **change})
    assert (refused.value.field, refused.value.message) == (field, sentence)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "image"),
        (PHOTO, "background_prompt"),
        ({**PHOTO, "background_prompt": "x"}, "foreground_prompt"),
        ({"task": "background"}, "background_prompt"),
        ({"task": "mask"}, "image"),
        ({**PHOTO, "task": "inpaint"}, "layers"),
    ],
)
def test_task_without_required_field_names_it(fields: dict[str, Any], field: str):
    with pytest.raises(InvalidRequest) as refused:
        validate(fields)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("prompt", "`prompt` is called `background_prompt` here."),
        ("inputs", "`inputs` is called `background_prompt` here."),
        ("mask_image", "`mask_image` is called `mask` here."),
        ("init_image", "`init_image` is called `image` here."),
        ("num_inference_steps", "`num_inference_steps` is called `steps` here."),
        ("strength", "`strength` is called `background_strength` here."),
        ("n", "`n` is called `num_images` here."),
        ("num_images_per_prompt", "`num_images_per_prompt` is called `num_images` here."),
        ("cfg_scale", "`cfg_scale` is called `guidance_scale` here."),
        ("sampler", "`sampler` is called `scheduler` here."),
        ("numImages", "`numImages` is called `num_images` here."),
        ("guidanceScale", "`guidanceScale` is called `guidance_scale` here."),
        ("numInferenceSteps", "`numInferenceSteps` is called `steps` here."),
        ("negative-prompt", "`negative-prompt` is called `negative_prompt` here."),
        ("Seed", "`Seed` is called `seed` here."),
        ("size", "`size` is called `width` and `height` here."),
        ("parameters", "Write the fields of `parameters` beside `image`, without it."),
        ("region", "Write `region` in an entry of `layers`, not in the request, beside `image`."),
        ("scale", "Write `scale` in `placement`, not in the request, beside `image`."),
        ("promts", "`promts` is not a field: write `background_prompt`, or leave it out."),
    ],
)
def test_field_of_another_server_is_named_as_ours(name: str, sentence: str):
    with pytest.raises(InvalidRequest) as refused:
        validate({**ADVERT, name: 1})
    assert (refused.value.field, refused.value.message) == (name, sentence)


@pytest.mark.parametrize(
    ("place", "name", "sentence"),
    [
        ("layers", "denoising_strength", "`denoising_strength` is called `strength` here."),
        ("layers", "background_prompt", "`background_prompt` is called `prompt` here."),
        ("layers", "negativePrompt", "`negativePrompt` is called `negative_prompt` here."),
        ("layers", "steps", "Write `steps` in the request, beside `image`, not in an entry of `layers`."),
        ("layers", "width_", "`width_` is not a field: write `strength`, or leave it out."),
        ("placement", "Scale", "`Scale` is called `scale` here."),
        ("placement", "scael", "`scael` is not a field: write `scale`, or leave it out."),
        ("placement", "width", "Write `width` in the request, beside `image`, not in `placement`."),
    ],
)
def test_field_is_named_as_it_is_valid_at_its_place(place: str, name: str, sentence: str):
    whole: dict[str, Any] = {
        "layers": [{"region": "lower", "prompt": "x", name: 1}],
        "placement": {"scale": 0.5, "x": 0.5, "y": 0.5, name: 1},
    }
    with pytest.raises(InvalidRequest) as refused:
        validate({**ADVERT, place: whole[place]})
    assert (refused.value.field, refused.value.message) == (place, sentence)


def test_schema_describes_every_field():
    properties = InvocationRequest.model_json_schema()["properties"]
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


def test_openapi_statuses_match_error_table():
    responses = openapi.build()["paths"]["/invocations"]["post"]["responses"]
    assert sorted(responses) == ["200", "400", "404", "405", "406", "413", "415", "500", "503", "504", "507"]
    assert responses["503"]["description"] == "The queue is full. The server is stopping and takes no new work."
