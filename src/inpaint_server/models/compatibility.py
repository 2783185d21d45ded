"""Whether configurations and weights fit each other, by names and shapes alone: no weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.utils.logging import set_verbosity_error
from transformers import CLIPTextConfig, CLIPTextModel

from inpaint_server.errors import BundleError
from inpaint_server.models.checkpoint import LATENT_CHANNELS

Shapes = Mapping[str, Sequence[int]]
AUTOENCODERS: Final = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
TEXT_TO_IMAGE_CHANNELS: Final = 4
INPAINTING_CHANNELS: Final = 9
"""4 of latents, 1 of the mask, 4 of the masked picture's latents (Rombach et al., 2022, appendix on inpainting)."""


def unet_shapes(config: dict[str, Any], where: object) -> Shapes:
    """Every weight of a UNet of a configuration.

    Raises:
        BundleError: it describes another model, or none that can be built.
    """
    if (name := config.get("_class_name")) != UNet2DConditionModel.__name__:
        raise BundleError(f"{where} describes a {name}: use a {UNet2DConditionModel.__name__}.")
    return _shapes(UNet2DConditionModel.from_config, config, where)


def autoencoder_shapes(config: dict[str, Any], where: object) -> Shapes:
    """Every weight of an autoencoder of a configuration.

    Raises:
        BundleError: it describes another model, or none that can be built.
    """
    name = config.get("_class_name")
    if name not in AUTOENCODERS:
        raise BundleError(f"{where} describes a {name}: use an {' or '.join(AUTOENCODERS)}.")
    return _shapes(AUTOENCODERS[name].from_config, config, where)


def text_encoder_shapes(config: dict[str, Any], where: object) -> Shapes:
    """Every weight of a CLIP text encoder of a configuration.

    Raises:
        BundleError: it describes another model, or none that can be built.
    """
    if "vocab_size" not in config or not str(config.get("model_type", "")).startswith("clip"):
        raise BundleError(f"{where} describes no CLIP text encoder: use the one of a Stable Diffusion 1.x checkpoint.")
    return _shapes(_text_encoder, config, where)


def require_fit(expected: Shapes, found: Shapes, where: object) -> None:
    """Compare a model's weights with those that its configuration describes.

    Raises:
        BundleError: a weight is missing, left over or of another shape; the message names the first.
    """
    remedy = "take configuration and weights from the same model"
    if missing := sorted(expected.keys() - found.keys()):
        raise BundleError(f"{where} lacks {_first(missing)} of its configuration: {remedy}.")
    if extra := sorted(found.keys() - expected.keys()):
        raise BundleError(f"{where} has {_first(extra)} beyond its configuration: {remedy}.")
    for name, shape in expected.items():
        if tuple(found[name]) != tuple(shape):
            sizes = f"{_product(found[name])} in the weights and {_product(shape)} in the configuration"
            raise BundleError(f"{where} does not fit its configuration ({name} is {sizes}): {remedy}.")


def require_one_model(
    unet: dict[str, Any], autoencoder: dict[str, Any], text_encoder: dict[str, Any], where: object
) -> None:
    """Compare what the three models of a checkpoint hand to each other.

    Raises:
        BundleError: the text encoder's width or the autoencoder's channels are not the UNet's.
    """
    wanted, width = unet["cross_attention_dim"], text_encoder["hidden_size"]
    if wanted != width:
        raise BundleError(
            f"The UNet of {where} takes text embeddings {wanted} wide and its text encoder gives {width}: "
            "take both from the same model."
        )
    if (channels := autoencoder["latent_channels"]) != LATENT_CHANNELS:
        raise BundleError(f"The VAE of {where} has {channels} latent channels: use one of Stable Diffusion, with 4.")


def require_channels(unet: dict[str, Any], expected: int, where: object) -> None:
    """Check that a UNet was trained for text to image (4 channels) or for inpainting (9).

    Raises:
        BundleError: it was trained for something else.
    """
    channels = unet["in_channels"]
    if channels == expected:
        return
    meant = {TEXT_TO_IMAGE_CHANNELS: "text to image", INPAINTING_CHANNELS: "inpainting"}
    known = {**meant, 5: "a depth map beside the picture", 8: "editing by instruction (InstructPix2Pix)"}
    purpose = known.get(channels, "another purpose")
    raise BundleError(
        f"The UNet of {where} takes {channels} channels, for {purpose}: "
        f"give a checkpoint for {meant[expected]}, which takes {expected}."
    )


def _text_encoder(config: dict[str, Any]) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**config))


def _shapes(build: Any, config: dict[str, Any], where: object) -> Shapes:
    set_verbosity_error()  # diffusers prints which attributes of a configuration it does not know
    try:
        with torch.device("meta"):
            return {name: weight.shape for name, weight in build(config).state_dict().items()}
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{where} describes a model that cannot be built ({reason}): copy it again.") from None


def _first(names: Sequence[str]) -> str:
    return f"{len(names)} weights ({names[0]}, ...)" if len(names) > 1 else f"the weight {names[0]}"


def _product(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"
