"""Overflow in half precision: the autoencoder is called again in float32, and no picture is black."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from inpaint_server.domain.calls import Generate
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import Sampling
from inpaint_server.errors import Internal
from inpaint_server.models.backend import TorchBackend
from inpaint_server.models.checkpoint import Checkpoint

MUCH = 3e3


@pytest.fixture
def overflowing(backend: TorchBackend) -> Checkpoint:
    """The demo's in half precision, its decoder's first layers scaled so that their outputs overflow."""
    vae = copy.deepcopy(backend.text_to_image.vae)
    assert isinstance(vae, AutoencoderTiny)
    make_overflow(vae.decoder)
    return replace(backend.text_to_image, vae=vae.half())


def make_overflow(coder: torch.nn.Module) -> None:
    """Scale its first layers up and its last one down again."""
    layers = [layer for layer in coder.modules() if isinstance(layer, torch.nn.Conv2d)]
    for layer in layers[:2]:
        layer.weight.data *= MUCH
    layers[-1].weight.data /= MUCH


def test_overflow_in_half_precision_is_decoded_in_float32(overflowing: Checkpoint):
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0)).half()
    with torch.inference_mode():
        decoded = overflowing.decode(latents)
        scaled = latents / overflowing.vae.config["scaling_factor"]
        in_half = overflowing.vae.decode(scaled, return_dict=False)[0]
        wanted = copy.deepcopy(overflowing.vae).float().decode(scaled.float(), return_dict=False)[0]
    assert not in_half.isfinite().all(), "the test needs an overflow"
    assert torch.equal(decoded, wanted)
    assert overflowing.vae.dtype == torch.float16, "the next picture is decoded in half precision again"


def test_overflow_in_half_precision_is_encoded_in_float32(backend: TorchBackend):
    vae = copy.deepcopy(backend.inpainting.vae)
    assert isinstance(vae, AutoencoderTiny)
    make_overflow(vae.encoder)
    overflowing = replace(backend.inpainting, vae=vae.half())
    picture = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).half()
    with torch.inference_mode():
        in_half: torch.Tensor = vae.encode(picture, return_dict=False)[0]
        latents = overflowing.encode(picture)
    assert not in_half.isfinite().all(), "the test needs an overflow"
    assert latents.isfinite().all()
    assert latents.dtype == torch.float16, "the UNet's precision"


def test_overflowed_latents_raise_internal_error(backend: TorchBackend):
    sampling = Sampling(steps=1, guidance_scale=1.0, scheduler="ddim")
    call = Generate(prompt="sand", negative_prompt="", size=Size(height=64, width=64), sampling=sampling, noise_seed=1)
    good, bad = backend.begin([call, call])
    bad.take(bad.carried * float("nan"))
    with pytest.raises(Internal, match="INPAINT_DTYPE"):
        backend.finish([bad])
    assert np.asarray(backend.finish([good])[0]).std() > 0
