"""Puts trained models into a bundle's folder: diffusers' own layout, half precision, safetensors only."""

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from segment_anything.modeling import Sam
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from inpaint_server.models.sam import SamConfig, build_sam
from training.sizes import LATENT_CHANNELS, Sizes
from training.vocabulary import END, START, write_tokenizer

INPAINT_CHANNELS = 2 * LATENT_CHANNELS + 1  # noisy latents, mask, latents of the masked picture: in this order
ORIGIN = ("_name_or_path", "is_local", "local_files_only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Everything one bundle holds; the two diffusion models share all but the UNet."""

    autoencoder: AutoencoderTiny
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    sam: Sam
    sam_config: SamConfig


def noise_schedule() -> DDIMScheduler:
    """Stable Diffusion's own noise schedule, with the velocity as the UNet's target.

    Any scheduler of diffusers can be made from its configuration.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def untrained(sizes: Sizes, tokenizer_folder: Path) -> Models:
    """Builds every model of a bundle with the random weights that torch's generator gives now."""
    tokenizer = write_tokenizer(tokenizer_folder)
    start, end = (tokenizer.get_vocab()[mark] for mark in (START, END))
    text_config = CLIPTextConfig(**sizes.text_encoder(vocabulary=len(tokenizer), start=start, end=end))
    return Models(
        autoencoder=AutoencoderTiny(**sizes.autoencoder()),
        tokenizer=tokenizer,
        text_encoder=CLIPTextModel(text_config),
        unet=UNet2DConditionModel(**sizes.unet(INPAINT_CHANNELS)),
        sam=build_sam(sizes.sam),
        sam_config=sizes.sam,
    )


@torch.no_grad()
def grey_latents(autoencoder: AutoencoderTiny) -> torch.Tensor:
    """Latents of the mid-grey that a wholly masked picture consists of, away from the picture's edge.

    Returns:
        Scaled latents as the UNet sees them, float32 of shape (LATENT_CHANNELS,).
    """
    grey = torch.zeros(1, 3, 256, 256, dtype=autoencoder.dtype)
    latents = autoencoder.encode(grey, return_dict=False)[0] * autoencoder.config["scaling_factor"]
    return latents[0, :, 8:-8, 8:-8].mean(dim=(1, 2)).float()


@torch.no_grad()
def text_to_image_unet(inpainting: UNet2DConditionModel, grey: torch.Tensor) -> UNet2DConditionModel:
    """Makes the 4-channel UNet out of the 9-channel one.

    A picture that is masked everywhere gives constant mask and masked-picture channels, so what the first
    convolution makes of them is a constant too, and goes into its bias.

    Args:
        inpainting: UNet with INPAINT_CHANNELS channels in; left as it is.
        grey: What `grey_latents` answers.
    """
    unet: Any = UNet2DConditionModel.from_config({**inpainting.config, "in_channels": LATENT_CHANNELS})
    weights = dict(inpainting.state_dict())
    kernel = weights["conv_in.weight"]  # (out, INPAINT_CHANNELS, 3, 3)
    constants = torch.cat([torch.ones(1), grey]).to(kernel.dtype)
    response = kernel[:, LATENT_CHANNELS:].sum(dim=(2, 3)) @ constants
    weights["conv_in.weight"] = kernel[:, :LATENT_CHANNELS].clone()
    weights["conv_in.bias"] = weights["conv_in.bias"] + response
    unet.load_state_dict(weights)
    return unet.eval()


def save_sam(model: Sam, config: SamConfig, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors` in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_mapping(), indent=2) + "\n", encoding="utf-8")
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@contextmanager
def save_bundle(models: Models, folder: Path) -> Generator[Path]:
    """Writes all three models, and replaces a bundle that is there only once the new one is complete.

    Args:
        models: In float32; their weights are rounded to half precision in place.
        folder: Becomes the bundle.

    Yields:
        The finished draft beside the folder, for the manifest to be added.
    """
    draft, retired = (folder.with_name(f"{folder.name}.{state}") for state in ("draft", "retired"))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _save_pipelines(models, draft)
    save_sam(models.sam, models.sam_config, draft / "sam")
    _forget_origin(draft)
    for path in draft.rglob("*.safetensors"):
        path.chmod(0o644)  # written readable by their owner alone, and a package is for all
    yield draft
    if folder.exists():
        folder.rename(retired)
    draft.rename(folder)
    shutil.rmtree(retired, ignore_errors=True)


def _forget_origin(folder: Path) -> None:
    """Removes from every configuration where on this machine its model was read from."""
    for path in folder.rglob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in config.items() if name not in ORIGIN}
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _save_pipelines(models: Models, folder: Path) -> None:
    """Writes both diffusion models as diffusers' pipelines save themselves."""
    shared: dict[str, Any] = {
        "vae": models.autoencoder,
        "text_encoder": models.text_encoder,
        "tokenizer": models.tokenizer,
        "scheduler": noise_schedule(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    plain = text_to_image_unet(models.unet, grey_latents(models.autoencoder))
    pipelines = {
        "stable-diffusion": StableDiffusionPipeline(unet=plain, **shared),
        "stable-diffusion-inpainting": StableDiffusionInpaintPipeline(unet=models.unet, **shared),
    }
    for name, pipeline in pipelines.items():
        pipeline.to(dtype=torch.float16).save_pretrained(str(folder / name), safe_serialization=True)


def size_in_bytes(folder: Path) -> int:
    """Sum of the sizes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
