"""Checkpoints of the published layouts, as small as can be and untrained, in the forms that people have them in."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, SamModel
from transformers import SamConfig as TransformersSamConfig

from inpaint_server.models.architectures import SD15_UNET, SD15_VAE
from inpaint_server.models.bundle import DEMO
from inpaint_server.models.sam import SamConfig, build_sam

WIDTH: Final = 32
SMALL_SAM: Final = SamConfig(
    image_size=64,
    patch_size=8,
    embed_dim=16,
    depth=2,
    num_heads=2,
    global_attn_indexes=(1,),
    window_size=3,
    out_chans=32,
    decoder_mlp_dim=16,
    iou_head_hidden_dim=16,
)
UNET_WEIGHTS: Final = "unet/diffusion_pytorch_model.safetensors"
VAE_WEIGHTS: Final = "vae/diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS: Final = "text_encoder/model.safetensors"


def save_diffusers(folder: Path, *, channels: int, seed: int) -> Path:
    """A Stable Diffusion 1.x folder as diffusers saves it; the VAE and text encoder are the same for every seed.

    The tokenizer is the demo's, whose few words are quick to load.
    """
    unet_config = {
        **SD15_UNET,
        "layers_per_block": 1,
        "block_out_channels": (32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH,
        "sample_size": 8,
    }
    vae_config = {**SD15_VAE, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    text_config: dict[str, Any] = {
        "hidden_size": WIDTH,
        "projection_dim": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    unet: Any = UNet2DConditionModel
    autoencoder: Any = AutoencoderKL
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        autoencoder.from_config(vae_config).save_pretrained(folder / "vae")
        CLIPTextModel(CLIPTextConfig(**text_config, num_attention_heads=1)).save_pretrained(folder / "text_encoder")
        torch.manual_seed(seed)
        unet.from_config({**unet_config, "in_channels": channels}).save_pretrained(folder / "unet")
    shutil.copytree(DEMO / "stable-diffusion" / "tokenizer", folder / "tokenizer")
    (folder / "scheduler").mkdir()
    schedule = {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    write_json(folder / "scheduler" / "scheduler_config.json", {**schedule, "beta_schedule": "scaled_linear"})
    kind = "StableDiffusionInpaintPipeline" if channels == 9 else "StableDiffusionPipeline"
    parts = {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    write_json(folder / "model_index.json", {"_class_name": kind, **parts})
    return folder


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content))


def edit_json(path: Path, **changes: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **changes})


def original_names(folder: Path) -> dict[str, Tensor]:
    """A diffusers folder's weights in the names of the code that Stable Diffusion 1.x was published with."""
    unet, vae, text = (load_file(folder / file) for file in (UNET_WEIGHTS, VAE_WEIGHTS, TEXT_WEIGHTS))
    layers = json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"]
    positions = torch.arange(len(text["embeddings.position_embedding.weight"]))[None]
    return {
        **original_unet(unet, layers),
        **original_vae(vae),
        **{f"cond_stage_model.transformer.text_model.{name}": weight for name, weight in text.items()},
        "cond_stage_model.transformer.text_model.embeddings.position_ids": positions,
        "alphas_cumprod": torch.ones(1000),
    }


def original_sdxl_names(folder: Path) -> dict[str, Tensor]:
    """A diffusers folder's weights in the names of the code that Stable Diffusion XL was published with."""
    unet, vae, text = (load_file(folder / file) for file in (UNET_WEIGHTS, VAE_WEIGHTS, TEXT_WEIGHTS))
    layers = json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"]
    second = original_open_clip(load_file(folder / "text_encoder_2" / "model.safetensors"))
    return {
        **original_unet(unet, layers),
        **original_vae(vae),
        **{f"conditioner.embedders.0.transformer.text_model.{name}": weight for name, weight in text.items()},
        **{f"conditioner.embedders.1.model.{name}": weight for name, weight in second.items()},
        "conditioner.embedders.1.model.logit_scale": torch.ones(()),
    }


def original_open_clip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a text encoder with its projection in OpenCLIP's names."""
    own = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    renamed = {"text_projection": own.pop("text_projection.weight").T}
    for name, weight in own.items():
        queries = ".q_proj." in name
        if ".k_proj." in name or ".v_proj." in name:
            continue
        original = name.replace("q_proj.", "in_proj_")
        for ours, theirs in (
            ("encoder.layers.", "transformer.resblocks."),
            ("self_attn", "attn"),
            ("final_layer_norm", "ln_final"),
            ("layer_norm", "ln_"),
            ("fc1", "c_fc"),
            ("fc2", "c_proj"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("embeddings.token_embedding", "token_embedding"),
        ):
            original = original.replace(ours, theirs)
        parts = [own[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")] if queries else [weight]
        renamed[original] = torch.cat(parts)
    return renamed


def original_unet(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A UNet's weights in the published names."""
    attending = {name.split(".")[1] for name in weights if re.match(r"up_blocks\.\d\.attentions", name)}
    prefix = "model.diffusion_model."
    return {prefix + _unet_name(name, layers + 1, attending): weight for name, weight in weights.items()}


def original_vae(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's weights in the published names."""
    levels = len({name.split(".")[2] for name in weights if name.startswith("encoder.down_blocks.")})
    return dict(_vae_entry(name, weight, levels) for name, weight in weights.items())


def _unet_name(name: str, stride: int, attending: set[str]) -> str:
    fixed = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    stem, _, kind = name.rpartition(".")
    if stem in fixed:
        return f"{fixed[stem]}.{kind}"
    for diffusers, original in (
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ):
        name = re.sub(rf"(resnets\.\d+)\.{diffusers}\.", rf"\1.{original}.", name)

    def down(match: re.Match[str]) -> str:
        block, layer = int(match[1]), int(match[3])
        return {
            "resnets": f"input_blocks.{stride * block + layer + 1}.0",
            "attentions": f"input_blocks.{stride * block + layer + 1}.1",
            "downsamplers": f"input_blocks.{stride * (block + 1)}.0",
        }[match[2]]

    def up(match: re.Match[str]) -> str:
        block, layer = int(match[1]), int(match[3])
        return {
            "resnets": f"output_blocks.{stride * block + layer}.0",
            "attentions": f"output_blocks.{stride * block + layer}.1",
            "upsamplers": f"output_blocks.{stride * (block + 1) - 1}.{2 if match[1] in attending else 1}",
        }[match[2]]

    name = re.sub(r"^down_blocks\.(\d)\.(\w+)\.(\d)", down, name)
    name = re.sub(r"^up_blocks\.(\d)\.(\w+)\.(\d)", up, name)
    name = re.sub(r"^mid_block\.resnets\.(\d)", lambda match: f"middle_block.{2 * int(match[1])}", name)
    name = name.replace("mid_block.attentions.0", "middle_block.1")
    return re.sub(r"^(input_blocks\.\d+\.0)\.conv\.", r"\1.op.", name)


def _vae_entry(name: str, weight: Tensor, levels: int) -> tuple[str, Tensor]:
    for pattern, original in (
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.resnets\.(\d)", r"up.\1.block.\2"),
        (r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    ):
        name = re.sub(pattern, original, name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    name = re.sub(r"decoder\.up\.(\d)", lambda match: f"decoder.up.{levels - 1 - int(match[1])}", name)
    convolution = "mid.attn_1" in name and weight.dim() == 2
    return f"first_stage_model.{name}", weight[:, :, None, None] if convolution else weight


def sam_weights(config: SamConfig = SMALL_SAM) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(2)
        return dict(build_sam(config).state_dict())


def shapes_of_sam(config: SamConfig) -> dict[str, Tensor]:
    """Weights of the true shapes that take no memory, nor space in a pickle: one number, expanded."""
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in build_sam(config).state_dict().items()}
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def save_transformers_sam(folder: Path, config: SamConfig = SMALL_SAM) -> SamModel:
    """The same sizes as transformers saves them, of other random weights."""
    sizes = asdict(config)
    vision = {
        "hidden_size": sizes["embed_dim"],
        "output_channels": sizes["out_chans"],
        "num_hidden_layers": sizes["depth"],
        "num_attention_heads": sizes["num_heads"],
        "image_size": sizes["image_size"],
        "patch_size": sizes["patch_size"],
        "window_size": sizes["window_size"],
        "global_attn_indexes": list(sizes["global_attn_indexes"]),
        "num_pos_feats": sizes["out_chans"] // 2,
        "mlp_dim": 4 * sizes["embed_dim"],
    }
    prompt = {"hidden_size": config.out_chans, "image_size": config.image_size, "patch_size": config.patch_size}
    decoder = {
        "hidden_size": config.out_chans,
        "mlp_dim": config.decoder_mlp_dim,
        "num_attention_heads": config.decoder_num_heads,
        "iou_head_hidden_dim": config.iou_head_hidden_dim,
    }
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        model = SamModel(
            TransformersSamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
        )
        for weight in model.parameters():  # some start as zeros, which no mistaken name would change
            weight.data.normal_(std=0.2)
    model.save_pretrained(folder)
    return model.eval()


def save_half(source: Path, target: Path) -> None:
    save_file({name: weight.half() for name, weight in load_file(source).items()}, target)
