"""The bundle on the device: everything the engine can ask to be painted, behind one door."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import diffusers.utils.logging
import transformers.utils.logging
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, MaskProposals, Score, Segment, Upscale
from inpaint_server.domain.results import ModelCard
from inpaint_server.errors import BundleError
from inpaint_server.models.bundle import (
    FEW_STEP_UNET,
    INPAINTING,
    SAFETY_CHECKER,
    SEGMENTER,
    TEXT_TO_IMAGE,
    UPSCALER,
    Bundle,
)
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.denoising import DenoisingState
from inpaint_server.models.device import Device, enable_attention
from inpaint_server.models.diffusion import Diffusion
from inpaint_server.models.loading import load
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.safety import SafetyChecker
from inpaint_server.models.segmenter import Segmenter
from inpaint_server.models.upscaler import Upscaler


class TorchBackend:
    """Segment Anything, Stable Diffusion and Stable Diffusion Inpainting, loaded together on one device.

    With them the safety checker and the upscaler, where the bundle carries them.

    Not for concurrent calls: one thread owns it.

    Args:
        bundle: The weights.
        device: Where they go.
        photo_cache_bytes: Bytes of photos' embeddings kept.
        prompt_cache_bytes: Bytes of prompts' embeddings kept.

    Raises:
        BundleError: the weights do not load.
    """

    def __init__(
        self, bundle: Bundle, device: Device, *, photo_cache_bytes: int = 0, prompt_cache_bytes: int = 0
    ) -> None:
        _quieten()
        gauge = MemoryEstimator(device)
        try:
            self.text_to_image = _load_checkpoint(bundle, TEXT_TO_IMAGE, device)
            self.inpainting = _load_checkpoint(bundle, INPAINTING, device, beside=self.text_to_image)
            self._segmenter = Segmenter(bundle.folder / SEGMENTER, device, gauge, photo_cache_bytes)
            self._safety = SafetyChecker(bundle.folder / SAFETY_CHECKER, device) if bundle.has(SAFETY_CHECKER) else None
            self._upscaler = Upscaler(bundle.folder / UPSCALER, device, gauge) if bundle.has(UPSCALER) else None
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise BundleError(f"The bundle in {bundle.folder} does not load: {error}.") from error
        loaded = (self.text_to_image, self.inpainting)
        unets = [one.unet for both in loaded for one in (both, both.few_step) if one is not None]
        attention = enable_attention(unets, device)
        self._diffusion = Diffusion(self.text_to_image, self.inpainting, device, gauge, prompt_cache_bytes)
        self.card = ModelCard(bundle=bundle.label, device=device.name, dtype=device.dtype_name, attention=attention)

    def segment(self, asks: Sequence[Segment]) -> list[MaskProposals]:
        """Three candidate masks for each; see `Segmenter.segment`."""
        return self._segmenter.segment(asks)

    def score(self, asks: Sequence[Score]) -> list[float]:
        """How well pictures show their words; see `Diffusion.score`."""
        return self._diffusion.score(asks)

    def check_safety(self, asks: Sequence[CheckSafety]) -> list[bool]:
        """Which pictures are unsafe; see `SafetyChecker.check_safety`."""
        assert self._safety is not None, "pictures are only checked where the bundle has a safety checker"
        return self._safety.check_safety(asks)

    def upscale(self, asks: Sequence[Upscale]) -> list[Pixels]:
        """Larger pictures; see `Upscaler.upscale`."""
        assert self._upscaler is not None, "pictures are only enlarged where the bundle has an upscaler"
        return self._upscaler.upscale(asks)

    def begin(self, asks: Sequence[DiffusionCall]) -> list[DenoisingState]:
        """Prepare passes; see `Diffusion.begin`."""
        return self._diffusion.begin(asks)

    def advance(self, batch: Sequence[DenoisingState]) -> None:
        """One step of every pass of the batch; see `Diffusion.advance`."""
        self._diffusion.advance(batch)

    def finish(self, batch: Sequence[DenoisingState]) -> list[Pixels]:
        """Decode passes; see `Diffusion.finish`."""
        return self._diffusion.finish(batch)

    def max_passes(self, state: DenoisingState) -> int:
        """How many passes like this one fit in one evaluation; see `Diffusion.max_passes`."""
        return self._diffusion.max_passes(state)

    def caches(self) -> dict[str, CacheStats]:
        """Embeddings kept: `photos` by Segment Anything, `prompts` by the text encoders."""
        return {"photos": self._segmenter.embeddings.stats, "prompts": self._diffusion.prompts.stats}


def _quieten() -> None:
    """No progress bars and no advice to training scripts among a server's log lines; errors are still told."""
    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.disable_progress_bar()
        logging.set_verbosity_error()


def _load_checkpoint(bundle: Bundle, name: str, device: Device, beside: Checkpoint | None = None) -> Checkpoint:
    """Load one checkpoint; VAE and text encoder are taken from the other where their weights are the same."""
    folder = bundle.folder / name
    shared_vae = beside is not None and bundle.shares("vae")
    shared_text = beside is not None and bundle.shares("text_encoder")
    usual = Checkpoint(
        unet=load(UNet2DConditionModel, folder / "unet", device),
        vae=beside.vae if beside and shared_vae else load(vae_class(folder / "vae"), folder / "vae", device),
        text_encoder=(
            beside.text_encoder if beside and shared_text else load(CLIPTextModel, folder / "text_encoder", device)
        ),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        noise_schedule=json.loads((folder / "scheduler" / "scheduler_config.json").read_text()),
    )
    if not bundle.has_few_step_weights:
        return usual
    few_step = replace(usual, unet=load(UNet2DConditionModel, folder / FEW_STEP_UNET, device))
    return replace(usual, few_step=few_step)


def vae_class(folder: Path) -> type[AutoencoderKL | AutoencoderTiny]:
    """The autoencoder the folder says it holds: Stable Diffusion's own, or its small replacement."""
    name = json.loads((folder / "config.json").read_text()).get("_class_name")
    kinds = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
    if name not in kinds:
        raise BundleError(f"{folder} holds a {name}: use {' or '.join(kinds)}.")
    return kinds[name]
