"""The bundle's models on one device, as the engine calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from inpaint_server.cache import CacheStats
from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.calls import CheckSafety, DiffusionCall, MaskLogits, Score, Segment, Upscale
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.results import ModelCard
from inpaint_server.errors import BundleError, OutOfMemory
from inpaint_server.models.attention import enable_attention
from inpaint_server.models.bundle import Bundle
from inpaint_server.models.capture import Capture
from inpaint_server.models.compiling import compile_unets
from inpaint_server.models.decoding import PendingPicture
from inpaint_server.models.denoising import DenoisingState
from inpaint_server.models.device import Device, RunAhead
from inpaint_server.models.diffusion import Diffusion
from inpaint_server.models.graphs import CapturedCalls
from inpaint_server.models.lanes import Lanes
from inpaint_server.models.layout import INPAINTING, SAFETY_CHECKER, SEGMENTER, TEXT_TO_IMAGE, UPSCALER
from inpaint_server.models.loading import load_checkpoint, silence_libraries
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.preparation import PassPreparation
from inpaint_server.models.safety import SafetyChecker
from inpaint_server.models.segmenter import Segmenter
from inpaint_server.models.upscaler import Upscaler

C = TypeVar("C")
R = TypeVar("R")


class TorchBackend:
    """Segment Anything, Stable Diffusion and Stable Diffusion Inpainting, loaded together on one device.

    With them the safety checker and the upscaler, where the bundle has them.

    Not thread-safe, but for `prepare` and `caches`: one thread calls it.

    Args:
        bundle: The weights.
        device: Where the models run.
        photo_cache_bytes: Bytes of photo embeddings kept.
        prompt_cache_bytes: Bytes of prompt embeddings kept.
        capture: Captures the UNets' calls; None: they are made as they are.
        compiled: Whether the UNets' blocks are compiled; see `compile_unets`.

    Raises:
        BundleError: the weights do not load.
        OutOfMemory: the weights fill the memory, so that no attention can be measured.
        SettingsError: there is no compiler.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        *,
        photo_cache_bytes: int = 0,
        prompt_cache_bytes: int = 0,
        capture: Capture | None = None,
        compiled: bool = False,
    ) -> None:
        silence_libraries()
        estimator = MemoryEstimator(device)
        # Not where blocks are compiled: two threads would compile at once.
        lanes = Lanes(torch.get_num_threads()) if device.torch_device.type == "cpu" and not compiled else None
        self._calls = CapturedCalls(estimator, capture, lanes)
        try:
            self.text_to_image = load_checkpoint(bundle, TEXT_TO_IMAGE, device)
            self.inpainting = (
                load_checkpoint(bundle, INPAINTING, device, sharing_with=self.text_to_image)
                if bundle.has_inpainting
                else self.text_to_image
            )
            self._segmenter = Segmenter(bundle.folder / SEGMENTER, device, estimator, photo_cache_bytes)
            self._safety = SafetyChecker(bundle.folder / SAFETY_CHECKER, device) if bundle.has(SAFETY_CHECKER) else None
            self._upscaler = Upscaler(bundle.folder / UPSCALER, device, estimator) if bundle.has(UPSCALER) else None
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise BundleError(f"The bundle in {bundle.folder} does not load: {error}.") from error
        loaded = [self.text_to_image, *([self.inpainting] if bundle.has_inpainting else [])]
        self._checkpoints = [one for pair in loaded for one in (pair, pair.few_step) if one is not None]
        attention = enable_attention([one.unet for one in self._checkpoints], [pair.vae for pair in loaded], device)
        if compiled:
            compile_unets([one.unet for one in self._checkpoints])
        self._preparation = PassPreparation(self.text_to_image, self.inpainting, device, estimator, prompt_cache_bytes)
        self._diffusion = Diffusion(self._preparation, device, estimator, self._calls)
        self._run_ahead = RunAhead(device)
        self.card = ModelCard(bundle=bundle.label, device=device.name, dtype=device.dtype_name, attention=attention)

    def capture(self, size: Size, max_batch: int) -> None:
        """Capture the UNets' calls for up to `max_batch` guided passes of a size; see `Diffusion.capture`.

        Raises:
            OutOfMemory: not even one row fits beside the weights.
        """
        for checkpoint in self._checkpoints if self._calls.captures else ():
            self._diffusion.capture(checkpoint, size, max_rows=2 * max_batch)

    @torch.inference_mode()
    def idle(self) -> bool:
        """Capture the call asked for most often, if one is asked for often; whether another one waits."""
        return self._calls.capture_asked()

    def prepare(self, call: Segment) -> Segment:
        """The call with its photo hashed and resized; see `Segmenter.prepare`."""
        return self._segmenter.prepare(call)

    def segment(self, calls: Sequence[Segment]) -> list[MaskLogits]:
        """The logits of three masks for each call; see `Segmenter.segment`."""
        return self._with_all_memory(self._segmenter.segment, calls)

    def score(self, calls: Sequence[Score]) -> list[float]:
        """How well pictures show their prompts; see `Diffusion.score`."""
        return self._with_all_memory(self._diffusion.score, calls)

    def check_safety(self, calls: Sequence[CheckSafety]) -> list[bool]:
        """Which pictures are unsafe; see `SafetyChecker.check_safety`."""
        assert self._safety is not None, "called only where the bundle has a safety checker"
        return self._with_all_memory(self._safety.check_safety, calls)

    def upscale(self, calls: Sequence[Upscale]) -> list[Pixels]:
        """Larger pictures; see `Upscaler.upscale`."""
        assert self._upscaler is not None, "called only where the bundle has an upscaler"
        return self._with_all_memory(self._upscaler.upscale, calls)

    def begin(self, calls: Sequence[DiffusionCall]) -> list[DenoisingState]:
        """Prepare passes; see `Diffusion.begin`."""
        return self._with_all_memory(self._diffusion.begin, calls)

    def advance(self, batch: Sequence[DenoisingState]) -> None:
        """One step of every pass of the batch; see `Diffusion.advance`. On CUDA two steps may still be queued then."""
        self._with_all_memory(self._diffusion.advance, batch)
        self._run_ahead.step_queued()

    def finish(self, batch: Sequence[DenoisingState]) -> list[PendingPicture]:
        """Start to decode passes; see `Diffusion.finish`."""
        return self._with_all_memory(self._diffusion.finish, batch)

    def max_passes(self, state: DenoisingState) -> int:
        """How many passes like this one fit in one evaluation; see `Diffusion.max_passes`."""
        return self._diffusion.max_passes(state)

    def first_unused_word(self, prompt: str) -> str | None:
        """The word from which on a prompt is not used; see `PromptEncoder.first_unused_word`."""
        return self.text_to_image.prompts.first_unused_word(prompt)

    def caches(self) -> dict[str, CacheStats]:
        """Statistics of the embeddings' caches: `photos` by Segment Anything, `prompts` by the text encoders."""
        return {"photos": self._segmenter.embeddings.stats, "prompts": self._preparation.embeddings.stats}

    def _with_all_memory(self, method: Callable[[C], R], calls: C) -> R:
        """Call a method of the models; where memory runs out, again without the captured calls."""
        try:
            return method(calls)
        except OutOfMemory:
            if not self._calls.give_up():
                raise
        return method(calls)
