"""Segment Anything in any size: the three published ones by name, smaller ones by their numbers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Self

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

# Mean and standard deviation of ImageNet in RGB, range [0, 255]: every published checkpoint was trained with them.
PIXEL_MEAN = [123.675, 116.28, 103.53]
PIXEL_STD = [58.395, 57.12, 57.375]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamConfig:
    """Every size that the shapes of a Segment Anything checkpoint depend on; the defaults are ViT-B's.

    Attributes:
        image_size: Side in pixels of the padded square the encoder sees.
        patch_size: Side in pixels of one token; low-resolution masks have 4 x image_size / patch_size pixels a side.
        embed_dim: Channels of the encoder's tokens.
        depth: Transformer blocks of the encoder.
        num_heads: Attention heads of each encoder block.
        global_attn_indexes: Blocks that attend to the whole picture; the others see windows.
        window_size: Side of a window, in tokens.
        out_chans: Channels of the image embedding, of the prompts and of the mask decoder.
        decoder_depth: Two-way transformer blocks of the mask decoder.
        decoder_mlp_dim: Hidden channels of those blocks.
        decoder_num_heads: Attention heads of those blocks.
        iou_head_hidden_dim: Hidden channels of the head that predicts each mask's quality.
    """

    image_size: int = 1024
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    out_chans: int = 256
    decoder_depth: int = 2
    decoder_mlp_dim: int = 2048
    decoder_num_heads: int = 8
    iou_head_hidden_dim: int = 256

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that cannot be built."""
        object.__setattr__(self, "global_attn_indexes", tuple(self.global_attn_indexes))
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} must be a multiple of num_heads {self.num_heads}")
        if any(not 0 <= index < self.depth for index in self.global_attn_indexes):
            raise ValueError(f"global_attn_indexes {self.global_attn_indexes} must lie in [0, {self.depth})")

    @property
    def embedding_size(self) -> int:
        """Side of the image embedding, in tokens."""
        return self.image_size // self.patch_size

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Reads the fields of `sam/config.json`.

        Args:
            values: `type`, and for the type `custom` any of this class's fields beside it.

        Raises:
            ValueError: The type or a field is unknown, or the sizes do not fit together.
        """
        kind = values.get("type")
        sizes = {name: value for name, value in values.items() if name != "type"}
        if isinstance(kind, str) and kind in PUBLISHED:
            if sizes:
                raise ValueError(f"type '{kind}' fixes its sizes; remove {sorted(sizes)} or set type to 'custom'")
            return cls(**asdict(PUBLISHED[kind]))
        if kind != "custom":
            raise ValueError(f"unknown type {kind!r} of Segment Anything; use one of {[*PUBLISHED, 'custom']}")
        if unknown := sizes.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown sizes {sorted(unknown)} of Segment Anything; remove them")
        return cls(**sizes)

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Reads a file in the form of `sam/config.json`."""
        return cls.from_mapping(json.loads(path.read_text(encoding="utf-8")))

    def to_mapping(self) -> dict[str, Any]:
        """The fields of `sam/config.json`: a published size by its name alone, any other in full."""
        for name, published in PUBLISHED.items():
            if self == published:
                return {"type": name}
        return {"type": "custom", **asdict(self), "global_attn_indexes": list(self.global_attn_indexes)}


PUBLISHED: Mapping[str, SamConfig] = {
    "vit_b": SamConfig(),
    "vit_l": SamConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    "vit_h": SamConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}


def build_sam(config: SamConfig) -> Sam:
    """Builds an untrained Segment Anything model in evaluation mode.

    The parameters carry the names of the published checkpoints, whose state dicts load unchanged.
    """
    tokens = (config.embedding_size, config.embedding_size)
    model = Sam(
        image_encoder=ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            out_chans=config.out_chans,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType] - returns a module, as a class does
            use_rel_pos=True,
            window_size=config.window_size,
            global_attn_indexes=config.global_attn_indexes,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=config.out_chans,
            image_embedding_size=tokens,
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=config.out_chans,
            transformer=TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.out_chans,
                num_heads=config.decoder_num_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        ),
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
    )
    return model.eval()
