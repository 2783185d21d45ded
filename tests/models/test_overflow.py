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
from testing.passes import decoded

MUCH = 3e3


@pytest.fixture
def overflowing(backend: TorchBackend) -> Checkpoint:
    """The demo's in half precision, its decoder's first layers scaled so that their outputs overflow."""
    vae = copy.deepcopy(backend.text_to_image.vae)
    assert isinstance(vae, AutoencoderTiny)
    make_overflow(vae.decoder)
    return replace(backend.text_to_image, vae=vae.half())


def generate(seed: int) -> Generate:
    sampling = Sampling(steps=1, guidance_scale=1.0, scheduler="ddim")
    size = Size(height=64, width=64)
    return Generate(prompt="sand", negative_prompt="", size=size, sampling=sampling, noise_seed=seed)


def make_overflow(coder: torch.nn.Module) -> None:
    """Scale its first layers up and its last one down again."""
    layers = [layer for layer in coder.modules() if isinstance(layer, torch.nn.Conv2d)]
    for layer in layers[:2]:
        layer.weight.data *= MUCH
    layers[-1].weight.data /= MUCH


def test_overflow_in_half_precision_is_decoded_in_float32(backend: TorchBackend, overflowing: Checkpoint):
    calls = [generate(seed) for seed in (1, 2)]
    states = [replace(state, checkpoint=overflowing) for state in backend.begin(calls)]
    in_float32 = replace(overflowing, vae=copy.deepcopy(overflowing.vae).float())
    with torch.inference_mode():
        assert not overflowing.decode(states[0].latents.half()).isfinite().all(), "the test needs an overflow"
    in_half = backend.finish(states)
    wanted = decoded(backend, [replace(state, checkpoint=in_float32) for state in states])
    for pending, picture in zip(in_half, wanted, strict=True):
        assert np.array_equal(pending.pixels(), picture)
    assert overflowing.vae.dtype == torch.float32, "the next picture is not decoded in half precision first"
    assert np.array_equal(decoded(backend, states[:1])[0], wanted[0])


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
    good, bad = backend.begin([generate(1), generate(1)])
    bad.take(bad.carried * float("nan"))
    for_good, for_bad = backend.finish([good, bad])
    with pytest.raises(Internal, match="INPAINT_DTYPE"):
        for_bad.pixels()
    assert np.asarray(for_good.pixels()).std() > 0, "it is decoded together with the other one"
