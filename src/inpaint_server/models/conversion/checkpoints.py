"""A Stable Diffusion checkpoint taken apart: its models' configurations and weights, checked and not read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
from torch import Tensor
from transformers import CLIPTokenizer

from inpaint_server.models import compatibility
from inpaint_server.models.compatibility import Shapes, require_channels, require_fit, require_one_model
from inpaint_server.models.layout import TEXT_ENCODERS, TOKENIZERS

# Names that diffusers gave the attention of an autoencoder until its version 0.13.
_OLD_ATTENTION: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TEXT_ENCODERS: Final = ("CLIPTextModel", "CLIPTextModelWithProjection")
_PROJECTION: Final = "text_projection.weight"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One model: its `config.json`, and its weights under the names that it is loaded with, views of mapped files."""

    config: dict[str, Any]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextEncoder:
    """A text encoder and its tokenizer."""

    model: Model
    tokenizer: CLIPTokenizer

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files into a folder."""
        self.tokenizer.save_pretrained(folder)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiffusionCheckpoint:
    """What a bundle takes from a checkpoint.

    Attributes:
        family: One of those that are served, of `families`.
        unet: Predicts noise or velocity.
        vae: Pictures to latents and back.
        text_encoders: Prompts to embeddings: one, or SDXL's two.
        noise_schedule: The scheduler's configuration.
        files: The files with the weights.
        native_size: Side of the square picture that it was trained for.
    """

    family: str
    unet: Model
    vae: Model
    text_encoders: tuple[TextEncoder, ...]
    noise_schedule: dict[str, Any]
    files: tuple[Path, ...]
    native_size: int

    @property
    def pipeline_index(self) -> dict[str, Any]:
        """The `model_index.json` by which diffusers loads the checkpoint as a pipeline."""
        count = len(self.text_encoders)
        inpainting = "Inpaint" if self.unet.config["in_channels"] == compatibility.INPAINTING_CHANNELS else ""
        if count == 1:
            kind, options = "StableDiffusion", {"requires_safety_checker": False, "safety_checker": [None, None]}
        else:
            kind, options = "StableDiffusionXL", {"force_zeros_for_empty_prompt": True}
        return {
            "_class_name": f"{kind}{inpainting}Pipeline",
            "_diffusers_version": diffusers.__version__,  # without it diffusers refuses pipelines that inpaint
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "scheduler": ["diffusers", self.noise_schedule.get("_class_name", "PNDMScheduler")],
            **{name: ["transformers", kind] for name, kind in zip(TEXT_ENCODERS[:count], _TEXT_ENCODERS, strict=False)},
            **{name: ["transformers", "CLIPTokenizer"] for name in TOKENIZERS[:count]},
            "unet": ["diffusers", self.unet.config["_class_name"]],
            "vae": ["diffusers", self.vae.config["_class_name"]],
            **options,
        }

    def require_use(self, use: str, where: object) -> None:
        """Check that its models belong together, and that its UNet fits the checkpoint's folder in a bundle.

        Raises:
            BundleError: one does not.
        """
        encoders = [encoder.model.config for encoder in self.text_encoders]
        require_one_model(self.unet.config, self.vae.config, encoders, where)
        require_channels(self.unet.config, use, where)


def unet(config: dict[str, Any], weights: Mapping[str, Tensor], where: object) -> Model:
    """A UNet.

    Raises:
        BundleError: configuration and weights do not fit.
    """
    return _fitted(compatibility.unet_shapes(config, where), config, weights, where)


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
    return _fitted(compatibility.autoencoder_shapes(config, where), config, renamed, where)


def text_encoder(
    config: dict[str, Any], weights: Mapping[str, Tensor], where: object, *, projected: bool = False
) -> Model:
    """A CLIP text encoder under the names that transformers has now; what only other uses need is left out.

    Args:
        config: Its configuration.
        weights: Its weights.
        where: Its folder.
        projected: Whether it makes a pooled embedding, too (SDXL's second); its projection is of no other use.

    Raises:
        BundleError: configuration and weights do not fit.
    """
    prefix = "text_model." if projected else ""
    own = {
        prefix + name.removeprefix("text_model."): weight
        for name, weight in weights.items()
        if name not in {_PROJECTION, "logit_scale"} and not name.endswith("position_ids")
    }
    if projected and _PROJECTION in weights:
        own[_PROJECTION] = weights[_PROJECTION]
    return _fitted(compatibility.text_encoder_shapes(config, where, projected=projected), config, own, where)


def _fitted(expected: Shapes, config: dict[str, Any], weights: Mapping[str, Tensor], where: object) -> Model:
    reshaped = {name: _as_linear(weight, expected.get(name)) for name, weight in weights.items()}
    require_fit(expected, {name: weight.shape for name, weight in reshaped.items()}, where)
    return Model(config=config, weights=reshaped)


def _as_linear(weight: Tensor, shape: Any) -> Tensor:
    """A 1 x 1 convolution as the linear layer that it is where the model has one."""
    convolution = shape is not None and len(shape) == 2 and weight.shape[2:].numel() == 1
    return weight.reshape(weight.shape[:2]) if convolution else weight
