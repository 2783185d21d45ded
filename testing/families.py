"""Small checkpoints with random weights in the layouts of Stable Diffusion 1, 2 and XL, and bundles of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from inpaint_server.models.bundle import DEMO
from inpaint_server.models.layout import INPAINTING, SEGMENTER, TEXT_TO_IMAGE
from inpaint_server.models.manifest import write_manifest

Family = Literal["1", "2", "2-v", "xl"]
FAMILIES: Final[tuple[Family, ...]] = ("1", "2", "2-v", "xl")
NATIVE_SIZE: Final = 64
_TEXT_CHANNELS: Final = 32


def save_checkpoint(folder: Path, family: Family, *, in_channels: int, seed: int = 0) -> None:
    """A checkpoint as diffusers saves it.

    Args:
        folder: Is made.
        family: Stable Diffusion's version; `2-v` predicts velocity.
        in_channels: Of the UNet: 4, or 9 for inpainting. VAE and text encoders depend on `seed` alone.
        seed: Of the random weights.
    """
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(seed)
        _vae().save_pretrained(folder / "vae")
        _text_encoder(CLIPTextModel, layers=2).save_pretrained(folder / "text_encoder")
        _tokenizer().save_pretrained(folder / "tokenizer")
        if family == "xl":
            _text_encoder(CLIPTextModelWithProjection, layers=3).save_pretrained(folder / "text_encoder_2")
            _tokenizer(pad_token="!").save_pretrained(folder / "tokenizer_2")
        torch.random.default_generator.manual_seed(seed + in_channels)
        _unet(family, in_channels).save_pretrained(folder / "unet")
    prediction = "v_prediction" if family == "2-v" else "epsilon"
    scheduler: Any = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    scheduler.save_pretrained(folder / "scheduler")


def save_bundle(folder: Path, text_to_image: Family, inpainting: Family | None) -> Path:
    """A bundle of two checkpoints, or of one that does both, and the demo's segmenter."""
    save_checkpoint(folder / TEXT_TO_IMAGE, text_to_image, in_channels=4)
    if inpainting is not None:
        save_checkpoint(folder / INPAINTING, inpainting, in_channels=9)
    shutil.copytree(DEMO / SEGMENTER, folder / SEGMENTER)
    write_manifest(folder, name="random", version="1", licence="none: random numbers", native_size=NATIVE_SIZE)
    return folder


def like_stable_diffusion() -> UNet2DConditionModel:
    """Cross-attention in the outermost blocks and two layers a block, as in Stable Diffusion 1.5, with few channels."""
    kind: Any = UNet2DConditionModel
    return kind(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=96,
    ).eval()


def _unet(family: Family, in_channels: int) -> Any:
    kind: Any = UNet2DConditionModel
    common = {
        "sample_size": NATIVE_SIZE // 8,
        "in_channels": in_channels,
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "norm_num_groups": 8,
        "cross_attention_dim": _TEXT_CHANNELS,
    }
    if family == "1":
        return kind(**common, attention_head_dim=2)
    if family == "xl":
        layout = {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2),
            "cross_attention_dim": 2 * _TEXT_CHANNELS,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": _TEXT_CHANNELS + 6 * 8,
        }
        return kind(**{**common, **layout}, attention_head_dim=(2, 4), use_linear_projection=True)
    return kind(**common, attention_head_dim=(2, 4), use_linear_projection=True)


def _vae() -> Any:
    kind: Any = AutoencoderKL
    return kind(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=NATIVE_SIZE,
    )


def _text_encoder(kind: Any, layers: int) -> Any:
    tokenizer: Any = _tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_CHANNELS,
            intermediate_size=2 * _TEXT_CHANNELS,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=_TEXT_CHANNELS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _tokenizer(**special: Any) -> CLIPTokenizer:
    """The demo's: byte-level, as CLIP's is, with fewer words."""
    return CLIPTokenizer.from_pretrained(DEMO / TEXT_TO_IMAGE / "tokenizer", local_files_only=True, **special)
