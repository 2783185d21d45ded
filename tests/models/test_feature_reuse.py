"""Reuse of deep features, on every layout of UNet that the server may load."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.feature_reuse import evaluate_and_cache, evaluate_shallow
from inpaint_server.models.prompts import Conditioning
from testing.families import like_stable_diffusion

POOLED_CHANNELS = 16


def like_sdxl() -> UNet2DConditionModel:
    """No attention in the outermost blocks, and a pooled embedding and sizes beside the time steps."""
    kind: Any = UNet2DConditionModel
    return kind(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=96,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=POOLED_CHANNELS + 6 * 8,
    ).eval()


@pytest.fixture(params=["text to image", "inpainting", "like Stable Diffusion", "like SDXL"])
def unet(request: pytest.FixtureRequest, backend: TorchBackend) -> UNet2DConditionModel:
    models = {"text to image": backend.text_to_image.unet, "inpainting": backend.inpainting.unet}
    if request.param in models:
        return models[request.param]
    return like_sdxl() if request.param == "like SDXL" else like_stable_diffusion()


def inputs(unet: UNet2DConditionModel, seed: int = 0) -> tuple[Tensor, Tensor, Conditioning]:
    rng = torch.Generator().manual_seed(seed)
    samples = torch.randn(3, unet.config["in_channels"], 8, 16, generator=rng)
    prompt_embeds, pooled = torch.randn(3, 7, 96, generator=rng), torch.randn(3, POOLED_CHANNELS, generator=rng)
    conditioning = Conditioning(prompt_embeds)
    if unet.config["addition_embed_type"] is not None:
        conditioning = Conditioning(prompt_embeds, pooled).on_canvas(64, 128)
    return samples, torch.tensor([900.0, 500.0, 20.0]), conditioning


@torch.inference_mode()
def test_caching_features_keeps_prediction(unet: UNet2DConditionModel):
    samples, timesteps, given = inputs(unet)
    added = {"text_embeds": given.pooled, "time_ids": given.time_ids}
    plain: Tensor = unet(samples, timesteps, given.prompt_embeds, added_cond_kwargs=added, return_dict=False)[0]
    prediction, _ = evaluate_and_cache(unet, samples, timesteps, *given.tensors)
    assert torch.equal(prediction, plain)


@torch.inference_mode()
def test_shallow_evaluation_with_current_features_equals_full(unet: UNet2DConditionModel):
    samples, timesteps, given = inputs(unet)
    prediction, deep = evaluate_and_cache(unet, samples, timesteps, *given.tensors)
    (again,) = evaluate_shallow(unet, samples, timesteps, deep, *given.tensors)
    assert torch.allclose(again, prediction, atol=1e-5)


@torch.inference_mode()
def test_shallow_evaluation_depends_on_its_own_input(unet: UNet2DConditionModel):
    samples, timesteps, given = inputs(unet)
    _, deep = evaluate_and_cache(unet, samples, timesteps, *given.tensors)
    (again,) = evaluate_shallow(unet, samples, timesteps, deep, *given.tensors)
    samples, timesteps, given = inputs(unet, seed=1)
    (other,) = evaluate_shallow(unet, samples, timesteps, deep, *given.tensors)
    assert not torch.allclose(again, other, atol=1e-2)
