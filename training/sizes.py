"""How large each model is: the bundle that ships, and a tiny twin that trains in a minute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from inpaint_server.models.sam import SamConfig

LATENT_CHANNELS = 4
LATENT_FACTOR = 8  # pixels a side of one latent
TOKEN_LIMIT = 32  # longest prompt, in tokens, its two end marks counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of one bundle.

    Attributes:
        canvas: Side in pixels of the pictures the diffusion models are trained on.
        encoder_channels: Width of the autoencoder's encoder.
        decoder_channels: Width of its decoder.
        decoder_blocks: Residual blocks of the decoder at 1/8, 1/4, 1/2 and full resolution.
        unet_channels: Width of the UNet at 1/8, 1/16 and 1/32 of the canvas.
        unet_heads: Attention heads at each of them; there is no attention at the first.
        text_channels: Width of the text encoder, and of the UNet's cross attention.
        text_layers: Depth of the text encoder.
        sam: Sizes of Segment Anything.
    """

    canvas: int
    encoder_channels: int
    decoder_channels: int
    decoder_blocks: tuple[int, int, int, int]
    unet_channels: tuple[int, int, int]
    unet_heads: tuple[int, int, int]
    text_channels: int
    text_layers: int
    sam: SamConfig = field(default_factory=SamConfig)

    @property
    def latent_side(self) -> int:
        """Side of the canvas in latents."""
        return self.canvas // LATENT_FACTOR

    def autoencoder(self) -> Mapping[str, Any]:
        """Keyword arguments of diffusers' `AutoencoderTiny`."""
        return {
            "latent_channels": LATENT_CHANNELS,
            "encoder_block_out_channels": (self.encoder_channels,) * 4,
            "decoder_block_out_channels": (self.decoder_channels,) * 4,
            "num_encoder_blocks": (0, 1, 2, 3),
            "num_decoder_blocks": self.decoder_blocks,
            "act_fn": "relu",
        }

    def unet(self, in_channels: int) -> Mapping[str, Any]:
        """Keyword arguments of diffusers' `UNet2DConditionModel` with 4 or 9 channels in."""
        return {
            "sample_size": self.latent_side,
            "in_channels": in_channels,
            "out_channels": LATENT_CHANNELS,
            "block_out_channels": self.unet_channels,
            "layers_per_block": 1,
            "cross_attention_dim": self.text_channels,
            "attention_head_dim": self.unet_heads,  # diffusers' name for the numbers of heads
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 8,
        }

    def text_encoder(self, *, vocabulary: int, start: int, end: int) -> Mapping[str, Any]:
        """Keyword arguments of transformers' `CLIPTextConfig` for a vocabulary and its two end marks."""
        return {
            "vocab_size": vocabulary,
            "hidden_size": self.text_channels,
            "intermediate_size": 2 * self.text_channels,
            "projection_dim": self.text_channels,
            "num_hidden_layers": self.text_layers,
            "num_attention_heads": 4,
            "max_position_embeddings": TOKEN_LIMIT,
            "bos_token_id": start,
            "eos_token_id": end,
            "pad_token_id": end,
        }

    @classmethod
    def demo(cls) -> Self:
        """The bundle that ships."""
        return cls(
            canvas=256,
            encoder_channels=32,
            decoder_channels=48,
            decoder_blocks=(5, 4, 1, 0),
            unet_channels=(48, 80, 96),
            unet_heads=(2, 2, 4),
            text_channels=96,
            text_layers=2,
            sam=SamConfig(
                image_size=256,
                patch_size=8,
                embed_dim=128,
                depth=5,
                num_heads=2,
                global_attn_indexes=(2, 4),
                window_size=8,
                out_chans=64,
                decoder_mlp_dim=128,
                decoder_num_heads=4,
                iou_head_hidden_dim=64,
            ),
        )

    @classmethod
    def tiny(cls) -> Self:
        """A twin of the same architecture whose training takes a minute, for tests of the commands themselves."""
        return cls(
            canvas=64,
            encoder_channels=8,
            decoder_channels=8,
            decoder_blocks=(1, 1, 1, 0),
            unet_channels=(16, 16, 16),
            unet_heads=(2, 2, 2),
            text_channels=16,
            text_layers=1,
            sam=SamConfig(
                image_size=64,
                patch_size=8,
                embed_dim=16,
                depth=2,
                num_heads=2,
                global_attn_indexes=(1,),
                window_size=4,
                out_chans=16,
                decoder_mlp_dim=16,
                decoder_num_heads=2,
                iou_head_hidden_dim=16,
            ),
        )
