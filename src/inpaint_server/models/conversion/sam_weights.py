"""Segment Anything in the forms that people have: its published names or transformers', in a file or a folder.

The type (ViT-B, L, H) is read from the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from inpaint_server.errors import BundleError
from inpaint_server.models.compatibility import require_fit
from inpaint_server.models.conversion import families
from inpaint_server.models.conversion.weight_files import open_weights, read_json
from inpaint_server.models.conversion.weight_folders import open_folder
from inpaint_server.models.sam import SamConfig, build_sam

# Variants by a part of a name that only they have; the first one that some name contains decides.
_VARIANTS: Final = (
    ("hf_token", "HQ-SAM"),
    ("image_encoder.trunk.", "Segment Anything 2"),
    ("memory_attention.", "Segment Anything 2"),
    ("vision_encoder.backbone.", "Segment Anything 2"),
    ("image_encoder.layers.", "MobileSAM"),
    ("image_encoder.input_stem.", "EfficientViT-SAM"),
    ("Adapter", "a SAM with adapters"),
    ("lora", "a SAM with a LoRA beside it"),
)
_TRANSFORMERS: Final = "vision_encoder."
# transformers' names and those of the published code, as patterns in the order in which they are replaced.
_RENAMED: Final = (
    (r"^shared_image_embedding\.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^image_encoder\.patch_embed\.projection", "image_encoder.patch_embed.proj"),
    (r"^image_encoder\.layers\.(\d+)\.layer_norm(\d)", r"image_encoder.blocks.\1.norm\2"),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"^image_encoder\.neck\.conv1", "image_encoder.neck.0"),
    (r"^image_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
    (r"^image_encoder\.neck\.conv2", "image_encoder.neck.2"),
    (r"^image_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
    (r"^prompt_encoder\.mask_embed\.conv1", "prompt_encoder.mask_downscaling.0"),
    (r"^prompt_encoder\.mask_embed\.layer_norm1", "prompt_encoder.mask_downscaling.1"),
    (r"^prompt_encoder\.mask_embed\.conv2", "prompt_encoder.mask_downscaling.3"),
    (r"^prompt_encoder\.mask_embed\.layer_norm2", "prompt_encoder.mask_downscaling.4"),
    (r"^prompt_encoder\.mask_embed\.conv3", "prompt_encoder.mask_downscaling.6"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn", "mask_decoder.transformer.norm_final_attn"),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d)", r"\1.norm\2"),
    (r"^mask_decoder\.upscale_conv1", "mask_decoder.output_upscaling.0"),
    (r"^mask_decoder\.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    (r"^mask_decoder\.upscale_conv2", "mask_decoder.output_upscaling.3"),
    (r"^(mask_decoder\.\S+)\.proj_out\.", r"\1.layers.2."),
    (r"^(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.layers\.0\.", r"\1.layers.1."),
    (r"^(mask_decoder\.\S+)\.proj_in\.", r"\1.layers.0."),
)
_TWICE: Final = "prompt_encoder.shared_embedding.positional_embedding"  # in transformers' files, the same as the first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmenter:
    """What a bundle takes from a checkpoint of Segment Anything: sizes, weights in the published names, files."""

    config: SamConfig
    weights: Mapping[str, Tensor]
    files: tuple[Path, ...]


def read_segmenter(path: Path) -> Segmenter:
    """Open a `.pth` or `.safetensors`, a transformers `SamModel` folder, or a bundle's `sam` folder.

    Raises:
        BundleError: it is something else, a variant that is not served, or damaged.
    """
    if not path.is_dir():
        return _segmenter(open_weights(path), (path,), path)
    config = read_json(path / "config.json") if (path / "config.json").exists() else {}
    weights, files = open_folder(path)
    try:
        own = SamConfig.from_mapping(config) if "type" in config else None
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path / 'config.json'} cannot be used ({error}): copy it again.") from None
    return _segmenter(weights, files, path, own)


def config_of(weights: Mapping[str, Tensor]) -> SamConfig:
    """The sizes of a model by its weights' shapes; the decoder's heads, which no shape tells, are the published ones.

    Raises:
        KeyError: a weight that tells a size is missing.
    """
    channels, _, patch, _ = weights["image_encoder.patch_embed.proj.weight"].shape
    tokens = weights["image_encoder.pos_embed"].shape[1]
    relative = {
        int(match[1]): weight.shape
        for name, weight in weights.items()
        if (match := re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h", name))
    }
    # 2 w - 1 relative positions in a window of w tokens (Li et al., MViTv2, 2021, section 4.1).
    windows = {block: (shape[0] + 1) // 2 for block, shape in relative.items()}
    decoder = "mask_decoder.transformer.layers"
    return SamConfig(
        image_size=tokens * patch,
        patch_size=patch,
        embed_dim=channels,
        depth=len(windows),
        num_heads=channels // relative[0][1],
        global_attn_indexes=tuple(sorted(block for block, window in windows.items() if window == tokens)),
        window_size=min(windows.values()),
        out_chans=weights["image_encoder.neck.0.weight"].shape[0],
        decoder_depth=len({name.split(".")[3] for name in weights if name.startswith(f"{decoder}.")}),
        decoder_mlp_dim=weights[f"{decoder}.0.mlp.lin1.weight"].shape[0],
        iou_head_hidden_dim=weights["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
    )


def _segmenter(
    found: Mapping[str, Tensor], files: tuple[Path, ...], where: Path, config: SamConfig | None = None
) -> Segmenter:
    for sign, variant in _VARIANTS:
        if any(sign in name for name in found):
            raise BundleError(
                f"{where} holds {variant}: this server takes Segment Anything's own ViT-B, ViT-L and ViT-H."
            )
    family = families.family_of(found)
    if family != families.SEGMENT_ANYTHING:
        what = family or "weights of an unknown kind"
        raise BundleError(f"{where} holds {what} and no Segment Anything: give its ViT-B, ViT-L or ViT-H.")
    transformers = any(name.startswith(_TRANSFORMERS) for name in found)
    weights = published_names(found) if transformers else dict(found)
    try:
        config = config or config_of(weights)
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise BundleError(f"{where} lacks parts of Segment Anything ({error}): give the whole checkpoint.") from None
    with torch.device("meta"):
        expected = {name: weight.shape for name, weight in build_sam(config).state_dict().items()}
    require_fit(expected, {name: weight.shape for name, weight in weights.items()}, where)
    return Segmenter(config=config, weights=weights, files=files)


def published_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in transformers' names under those of the published code."""
    renamed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        new = name
        for pattern, replacement in _RENAMED:
            new = re.sub(pattern, replacement, new)
        if name != _TWICE:
            renamed[new] = weight
    return renamed
