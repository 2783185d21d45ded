"""Tokenizer, model configurations, the training loop and its model conversions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry

from inpaint_server.models.sam import PUBLISHED, SamConfig, build_sam
from training.assemble import INPAINT_CHANNELS, text_to_image_unet, untrained
from training.autoencoder import near_identity, to_tensor
from training.loop import Chance, Plan, Training, seeded
from training.segmenter import Prompts, enlarged, fresh, predict
from training.sizes import TOKEN_LIMIT, Sizes
from training.vocabulary import words, write_tokenizer


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_match_segment_anything(name: str):
    with torch.device("meta"):
        ours = build_sam(SamConfig.from_mapping({"type": name}))
        theirs = sam_model_registry[name]()

    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_sam_config_round_trip(tmp_path: Path):
    for config in (*PUBLISHED.values(), Sizes.demo().sam):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config.to_mapping()), encoding="utf-8")
        assert SamConfig.from_json(path) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "vit_x"}, "unknown type"),
        ({"type": "vit_b", "depth": 3}, "fixes its sizes"),
        ({"type": "custom", "deep": 3}, r"unknown sizes \['deep'\]"),
        ({"type": "custom", "image_size": 100, "patch_size": 16}, "multiple of patch_size"),
        ({"type": "custom", "embed_dim": 100, "num_heads": 3}, "multiple of num_heads"),
        ({"type": "custom", "depth": 2}, "global_attn_indexes"),
    ],
)
def test_invalid_sam_config_is_refused(values: dict[str, str | int], message: str):
    with pytest.raises(ValueError, match=message):
        SamConfig.from_mapping(values)


def test_tokenizer_has_vocabulary_and_no_unknown_text(tmp_path: Path):
    tokenizer = write_tokenizer(tmp_path)

    assert tokenizer.model_max_length == TOKEN_LIMIT
    for word in words():
        assert len(tokenizer(word).input_ids) == 3, word  # the word between two end marks
    strange = "Zwölf Boxkämpfer, 12 €!"
    assert tokenizer.unk_token_id not in tokenizer(strange).input_ids[1:-1]


def test_interrupted_training_equals_uninterrupted(tmp_path: Path):
    plan = Plan(steps=6, rate=1e-2, warm_up=2, batch=1, seed=4, save_every=3)

    class Stopped(Exception):
        """An interruption of the training."""

    def run(folder: Path, stop_at: int | None) -> torch.Tensor:
        with seeded(0):
            layer = torch.nn.Linear(3, 3)

        def loss(step: int, chance: Chance) -> dict[str, torch.Tensor]:
            if step == stop_at:
                raise Stopped
            return {"loss": (layer(torch.randn(2, 3, generator=chance.torch)) - chance.numpy.random()).square().mean()}

        Training(dict(layer.named_parameters()), plan, folder).run(loss)
        return layer.weight.detach()

    straight = run(tmp_path / "straight", stop_at=None)
    with pytest.raises(Stopped):
        run(tmp_path / "broken", stop_at=4)
    assert torch.equal(run(tmp_path / "broken", stop_at=None), straight)
    assert (tmp_path / "broken" / "curve.png").exists()


def test_initial_autoencoder_reconstructs():
    with seeded(0):
        model = near_identity(Sizes.demo())
    ramp = np.linspace(40, 220, 64).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (1, 64, 64, 3)).copy()
    with torch.no_grad():
        error = (model(to_tensor(picture)).sample - to_tensor(picture))[..., 8:-8, 8:-8].abs().mean()
    assert error < 0.15


def test_text_to_image_unet_equals_fully_masked_inpainting(tmp_path: Path):
    with seeded(0):
        inpainting: Any = untrained(Sizes.tiny(), tmp_path).unet.eval()
    grey = torch.tensor([0.3, -0.2, 0.1, 0.5])
    plain = text_to_image_unet(inpainting, grey)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    context = torch.cat([torch.ones(1, 1, 8, 8), grey.view(1, 4, 1, 1).expand(1, 4, 8, 8)], dim=1)
    with torch.no_grad():
        ours = plain.conv_in(latents)[..., 1:-1, 1:-1]
        theirs = inpainting.conv_in(torch.cat([latents, context], dim=1))[..., 1:-1, 1:-1]

    assert inpainting.config.in_channels == INPAINT_CHANNELS
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_batched_mask_decoder_equals_segment_anything():
    model = fresh(Sizes.tiny().sam, seed=1)
    photo = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[[10.0, 20.0]], [[40.0, 30.0]]])
    with torch.no_grad():
        masks, quality = predict(model, photo, Prompts(points=points, boxes=None))
        sparse, dense = model.prompt_encoder(points=(points[1:], torch.ones(1, 1)), boxes=None, masks=None)
        theirs, judged = model.mask_decoder(
            image_embeddings=model.image_encoder(photo[1:]),
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )

    assert torch.allclose(masks[1:, 1:], theirs, atol=1e-4)
    assert torch.allclose(quality[1:, 1:], judged, atol=1e-4)


def test_enlarged_segmenter_keeps_weights():
    half: Any = fresh(SamConfig.from_mapping({**Sizes.tiny().sam.to_mapping(), "image_size": 32}), seed=1)
    whole: Any = enlarged(half, Sizes.tiny().sam)

    assert whole.image_encoder.img_size == 64
    assert torch.equal(whole.mask_decoder.iou_token.weight, half.mask_decoder.iou_token.weight)
    assert whole.image_encoder.pos_embed.shape[1] == 2 * half.image_encoder.pos_embed.shape[1]
