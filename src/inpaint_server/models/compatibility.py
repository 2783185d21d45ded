"""Whether configurations and weights fit each other, by names and shapes alone: no weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.utils.logging import set_verbosity_error
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from inpaint_server.errors import BundleError
from inpaint_server.models.checkpoint import LATENT_CHANNELS
from inpaint_server.models.layout import INPAINTING, TEXT_TO_IMAGE

Shapes = Mapping[str, Sequence[int]]
AUTOENCODERS: Final = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
TEXT_TO_IMAGE_CHANNELS: Final = 4
INPAINTING_CHANNELS: Final = 9
"""4 of latents, 1 of the mask, 4 of the masked picture's latents (Rombach et al., 2022, appendix on inpainting)."""
_CHANNELS: Final = {TEXT_TO_IMAGE: (TEXT_TO_IMAGE_CHANNELS,), INPAINTING: (INPAINTING_CHANNELS, TEXT_TO_IMAGE_CHANNELS)}
"""What the UNets of a bundle's checkpoints may take: one for text to image inpaints, too, without seeing the mask."""
CANVAS_NUMBERS: Final = 6
"""Height and width of the original, where it was cropped, and of the canvas: each is embedded on its own (SDXL)."""


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


def text_encoder_shapes(config: dict[str, Any], where: object, *, projected: bool) -> Shapes:
    """Every weight of a CLIP text encoder of a configuration, `projected` with the one that makes a pooled embedding.

    Raises:
        BundleError: it describes another model, or none that can be built.
    """
    if "vocab_size" not in config or not str(config.get("model_type", "")).startswith("clip"):
        raise BundleError(f"{where} describes no CLIP text encoder: use the one of a Stable Diffusion checkpoint.")
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel

    def build(values: dict[str, Any]) -> CLIPTextModel | CLIPTextModelWithProjection:
        return kind(CLIPTextConfig(**values))

    return _shapes(build, config, where)


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
    unet: dict[str, Any], autoencoder: dict[str, Any], text_encoders: Sequence[dict[str, Any]], where: object
) -> None:
    """Compare what the models of a checkpoint hand to each other, by their configurations.

    Raises:
        BundleError: the text encoders' widths or the autoencoder's channels are not the UNet's.
    """
    encoders = [CLIPTextConfig(**config) for config in text_encoders]
    wanted, width = unet["cross_attention_dim"], sum(encoder.hidden_size for encoder in encoders)
    if wanted != width:
        given = "its text encoder gives" if len(encoders) == 1 else "its two text encoders together give"
        raise BundleError(
            f"The UNet of {where} takes text embeddings {wanted} wide and {given} {width}: "
            "take them from the same model."
        )
    if unet.get("addition_embed_type") is not None:
        _require_pooled(unet, encoders[-1], where)
    if (channels := autoencoder["latent_channels"]) != LATENT_CHANNELS:
        raise BundleError(f"The VAE of {where} has {channels} latent channels: use one of Stable Diffusion, with 4.")


def require_channels(unet: dict[str, Any], use: str, where: object) -> None:
    """Check that a UNet takes 4 channels (text to image), or for inpainting 9 or 4.

    Args:
        unet: Its configuration.
        use: The folder of its checkpoint in a bundle.
        where: The checkpoint.

    Raises:
        BundleError: it was trained for something else.
    """
    channels, fitting = unet["in_channels"], _CHANNELS[use]
    if channels in fitting:
        return
    meant = {TEXT_TO_IMAGE_CHANNELS: "text to image", INPAINTING_CHANNELS: "inpainting"}
    known = {**meant, 5: "a depth map beside the picture", 8: "editing by instruction (InstructPix2Pix)"}
    purpose = known.get(channels, "another purpose")
    raise BundleError(
        f"The UNet of {where} takes {channels} channels, for {purpose}: "
        f"give a checkpoint for {meant[fitting[0]]}, which takes {fitting[0]}."
    )


def _require_pooled(unet: dict[str, Any], text_encoder: CLIPTextConfig, where: object) -> None:
    """Compare what an SDXL UNet gets besides the prompt's tokens with what it is made of."""
    wanted = unet["projection_class_embeddings_input_dim"]
    width = text_encoder.projection_dim + CANVAS_NUMBERS * unet["addition_time_embed_dim"]
    if wanted != width:
        raise BundleError(
            f"The UNet of {where} takes {wanted} numbers for each whole prompt and its canvas, and with its second "
            f"text encoder there are {width}: take both from the same model."
        )


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
