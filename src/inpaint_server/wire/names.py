"""What an unknown field's error says: which of ours means the same, or which valid one is spelled most alike."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

REQUEST: Final = "request"
LAYER: Final = "layer"
PLACEMENT: Final = "placement"

# What other servers call a request's fields: Stability's and OpenAI's interfaces, diffusers' pipelines, Hugging Face's
# and SageMaker's containers, AUTOMATIC1111's and ComfyUI's, Segment Anything's demos.
_OURS: Final[Mapping[str, str]] = {
    other: ours
    for ours, others in {
        "background_prompt": "prompt prompts inputs text text_prompt text_prompts positive_prompt caption scene "
        "background instruction",
        "foreground_prompt": "foreground surface",
        "negative_prompt": "negative negative_prompts neg_prompt uncond",
        "image": "init_image init_images input_image source_image product_image image_base64 image_b64 image_bytes "
        "image_data image_url images img photo picture product file",
        "mask": "mask_image mask_img mask_source mask_base64 mask_b64 mask_url masks segmentation alpha",
        "points": "point point_coords input_points input_point point_labels input_labels",
        "box": "boxes bbox bounding_box input_boxes input_box",
        "steps": "num_inference_steps inference_steps num_steps n_steps sampling_steps ddim_steps num_sampling_steps",
        "guidance_scale": "cfg_scale cfg guidance scale_guidance unconditional_guidance_scale",
        "scheduler": "sampler sampler_name sampler_index sampling_method scheduler_name solver",
        "background_strength": "strength image_strength denoising_strength denoise prompt_strength",
        "num_images": "n num_images_per_prompt num_outputs number_of_images n_samples num_samples samples n_iter "
        "batch_size batch_count sample_count",
        "seed": "seeds random_seed noise_seed manual_seed generator",
        "output_format": "response_format image_format output_type format mime_type",
        "aspect_ratio": "aspect ratio",
        "feather": "mask_blur blur feathering",
        "profile": "preset quality",
        "task": "mode action task_type",
    }.items()
    for other in others.split()
}
_SEVERAL: Final[Mapping[str, str]] = {
    "size": "`size` is called `width` and `height` here.",
    "image_size": "`image_size` is called `width` and `height` here.",
    "resolution": "`resolution` is called `width` and `height` here.",
    "parameters": "Write the fields of `parameters` beside `image`, without it.",
    "instances": "Send one request object without `instances`, or several as application/jsonlines.",
}
_ELSEWHERE: Final[Mapping[str, str]] = {
    REQUEST: "the request, beside `image`",
    LAYER: "an entry of `layers`",
    PLACEMENT: "`placement`",
}


def about_unknown(name: str, place: str, fields: Mapping[str, Collection[str]]) -> str:
    """The sentence about a field that is not valid where it stands.

    Args:
        name: As the caller wrote it.
        place: `REQUEST`, `LAYER` or `PLACEMENT`.
        fields: The names that are valid at each place.
    """
    shown, snake = name[:80], _snake_case(name)
    valid = fields[place]
    if snake in valid:
        return f"`{shown}` is called `{snake}` here."
    if place == REQUEST and snake in _SEVERAL:
        return _SEVERAL[snake]
    ours = _OURS.get(snake, snake)
    ours = next((field for field in (ours, ours.removeprefix("background_")) if field in valid), ours)
    if ours in valid:
        return f"`{shown}` is called `{ours}` here."
    for other, names in fields.items():
        if ours in names:
            written = f"Write `{ours}`" if ours == name else f"`{shown}` is called `{ours}` here: write it"
            return f"{written} in {_ELSEWHERE[other]}, not in {_ELSEWHERE[place]}."
    known = {**{field: field for field in valid}, **{other: ours for other, ours in _OURS.items() if ours in valid}}
    nearest = difflib.get_close_matches(snake, sorted(known), n=1, cutoff=0.0)[0]
    return f"`{shown}` is not a field: write `{known[nearest]}`, or leave it out."


def _snake_case(name: str) -> str:
    """camelCase, kebab-case and capitals as fields are written here."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[- ]+", "_", name).lower()
