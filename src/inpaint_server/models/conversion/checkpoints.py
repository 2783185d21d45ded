"""A Stable Diffusion checkpoint taken apart: its models' configurations and weights, checked and not read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from transformers import CLIPTokenizer

from inpaint_server.models import compatibility
from inpaint_server.models.compatibility import Shapes, require_channels, require_fit, require_one_model

# Names that diffusers gave the attention of an autoencoder until its version 0.13.
_OLD_ATTENTION: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One model: its `config.json`, and its weights under the names that it is loaded with, views of mapped files."""

    config: dict[str, Any]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiffusionCheckpoint:
    """What a bundle takes from a checkpoint.

    Attributes:
        unet: Predicts noise.
        vae: Pictures to latents and back.
        text_encoder: Prompts to embeddings.
        tokenizer: Of the text encoder.
        noise_schedule: The scheduler's configuration.
        files: The files with the weights.
        native_size: Side of the square picture that it was trained for.
    """

    unet: Model
    vae: Model
    text_encoder: Model
    tokenizer: CLIPTokenizer
    noise_schedule: dict[str, Any]
    files: tuple[Path, ...]
    native_size: int

    @property
    def pipeline_index(self) -> dict[str, Any]:
        """The `model_index.json` by which diffusers loads the checkpoint as a pipeline."""
        inpaints = self.unet.config["in_channels"] == compatibility.INPAINTING_CHANNELS
        return {
            "_class_name": "StableDiffusionInpaintPipeline" if inpaints else "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", self.noise_schedule.get("_class_name", "PNDMScheduler")],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", self.unet.config["_class_name"]],
            "vae": ["diffusers", self.vae.config["_class_name"]],
        }

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files into a folder."""
        self.tokenizer.save_pretrained(folder)

    def require_use(self, channels: int, where: object) -> None:
        """Check that its models belong together, and that its UNet takes so many channels.

        Raises:
            BundleError: one does not.
        """
        require_one_model(self.unet.config, self.vae.config, self.text_encoder.config, where)
        require_channels(self.unet.config, channels, where)


def unet(config: dict[str, Any], weights: Mapping[str, Tensor], where: object) -> Model:
    """A UNet.

    Raises:
        BundleError: configuration and weights do not fit.
    """
    return _fitted(compatibility.unet_shapes, config, weights, where)


def autoencoder(config: dict[str, Any], weights: Mapping[str, Tensor], where: object) -> Model:
    """An autoencoder; the old names of its attention become the present ones.

    Raises:
        BundleError: configuration and weights do not fit.
    """
    names = "|".join(_OLD_ATTENTION)
    renamed = {
        re.sub(rf"(attentions\.\d+)\.({names})\.", lambda old: f"{old[1]}.{_OLD_ATTENTION[old[2]]}.", name): weight
        for name, weight in weights.items()
    }
    return _fitted(compatibility.autoencoder_shapes, config, renamed, where)


def text_encoder(config: dict[str, Any], weights: Mapping[str, Tensor], where: object) -> Model:
    """A CLIP text encoder; `text_model.` goes from its names, and what only other uses need (a projection) is left out.

    Raises:
        BundleError: configuration and weights do not fit.
    """
    own = {
        name.removeprefix("text_model."): weight
        for name, weight in weights.items()
        if name not in {"text_projection.weight", "logit_scale"} and not name.endswith("position_ids")
    }
    return _fitted(compatibility.text_encoder_shapes, config, own, where)


def _fitted(
    shapes: Callable[[dict[str, Any], object], Shapes],
    config: dict[str, Any],
    weights: Mapping[str, Tensor],
    where: object,
) -> Model:
    expected = shapes(config, where)
    reshaped = {name: _as_linear(weight, expected.get(name)) for name, weight in weights.items()}
    require_fit(expected, {name: weight.shape for name, weight in reshaped.items()}, where)
    return Model(config=config, weights=reshaped)


def _as_linear(weight: Tensor, shape: Any) -> Tensor:
    """A 1 x 1 convolution as the linear layer that it is where the model has one."""
    convolution = shape is not None and len(shape) == 2 and weight.shape[2:].numel() == 1
    return weight.reshape(weight.shape[:2]) if convolution else weight
