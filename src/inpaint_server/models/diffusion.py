"""Stable Diffusion, step by step, over batches of pictures that need not start or end together.

Text-to-image and inpainting (Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022)
share one loop: passes are begun, advanced any number of times beside any others, and finished. Each has its own
solver, time step, guidance, conditioning and noise, so a picture does not depend on what it was batched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from inpaint_server.domain.calls import DiffusionCall, Score
from inpaint_server.domain.geometry import Size
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.decoding import Decoder, PendingPicture
from inpaint_server.models.denoising import DenoisingState, model_inputs, solve
from inpaint_server.models.device import Device, translate_out_of_memory
from inpaint_server.models.feature_reuse import evaluate_and_cache, evaluate_shallow
from inpaint_server.models.graphs import CapturedCalls
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.preparation import PassPreparation, equal_indices
from inpaint_server.models.scoring import prompt_agreement
from inpaint_server.models.tensors import picture_tensor


class Diffusion:
    """Begins, advances and finishes passes.

    Args:
        preparation: Prepares them.
        device: Where they run.
        estimator: Measures the memory that calls take.
        calls: Makes the UNets' calls.
    """

    def __init__(
        self, preparation: PassPreparation, device: Device, estimator: MemoryEstimator, calls: CapturedCalls
    ) -> None:
        self._preparation = preparation
        self._device = device
        self._estimator = estimator
        self._calls = calls
        self._decoder = Decoder(device, estimator)

    @torch.inference_mode()
    def capture(self, checkpoint: Checkpoint, size: Size, max_rows: int) -> None:
        """Capture a UNet's evaluations at a picture's size, with and without reuse of features, of up to `max_rows`.

        Raises:
            OutOfMemory: not even one row fits.
        """
        unet, scale = checkpoint.unet, checkpoint.latent_scale
        with translate_out_of_memory():
            like = partial(torch.zeros, device=unet.device)
            samples = like(1, unet.config["in_channels"], size.height // scale, size.width // scale, dtype=unet.dtype)
            conditioning = self._preparation.embed(checkpoint, [""]).on_canvas(size.height, size.width).tensors
            _, deep = evaluate_and_cache(unet, samples, like(1), *conditioning)
        full, shallow = partial(evaluate_and_cache, unet), partial(evaluate_shallow, unet)
        self._calls.capture_rows(_unet_key(checkpoint), full, samples, like(1), *conditioning, max_rows=max_rows)
        self._calls.capture_rows(
            _shallow_key(checkpoint), shallow, samples, like(1), deep, *conditioning, max_rows=max_rows
        )

    @torch.inference_mode()
    def begin(self, calls: Sequence[DiffusionCall]) -> list[DenoisingState]:
        """Prepare passes; see `PassPreparation.begin`.

        Raises:
            OutOfMemory: the canvases do not fit.
        """
        with translate_out_of_memory():
            return self._preparation.begin(calls)

    @torch.inference_mode()
    def advance(self, batch: Sequence[DenoisingState]) -> None:
        """Compute one step of every pass of the batch (all of one `batch_key`), in one model evaluation.

        A step that runs out of memory, in the evaluation or in a solver, has changed nothing: a smaller batch can be
        tried.

        Raises:
            OutOfMemory: the batch does not fit.
        """
        with translate_out_of_memory():
            predictions, features = self._evaluate(batch)
            results = solve(batch, predictions)
            kept = _kept_features(batch, features)
        for state, carried, deep in zip(batch, results, kept, strict=True):
            state.deep_features = deep
            state.take(carried)

    @torch.inference_mode()
    def finish(self, batch: Sequence[DenoisingState]) -> list[PendingPicture]:
        """Start to decode passes that are done; latents of one size are decoded together.

        Raises:
            OutOfMemory: the canvases do not fit.
        """
        pending: dict[int, PendingPicture] = {}
        with translate_out_of_memory():
            for indices in equal_indices([(id(state.checkpoint.vae), state.latents.shape) for state in batch]):
                latents = torch.cat([batch[index].latents for index in indices])
                decoding = self._decoder.start(batch[indices[0]].checkpoint, latents)
                pending.update(zip(indices, decoding, strict=True))
        return [pending[index] for index in range(len(batch))]

    @torch.inference_mode()
    def score(self, calls: Sequence[Score]) -> list[float]:
        """How well each picture shows its prompts; see `scoring.prompt_agreement`.

        Raises:
            OutOfMemory: the pictures do not fit.
        """
        with translate_out_of_memory():
            pictures = [picture_tensor(call.picture) for call in calls]
            latents = self._preparation.encode(self._preparation.text_to_image, pictures)
            return [self._prompt_agreement(call, one) for call, one in zip(calls, latents, strict=True)]

    def max_passes(self, state: DenoisingState) -> int:
        """How many passes like this one fit into the free memory in one evaluation, as measured; at least 1."""
        rows = self._estimator.max_rows(_unet_key(state.checkpoint), state.input_elements)
        return max(1, rows // state.rows)

    def _prompt_agreement(self, call: Score, latents: Tensor) -> float:
        checkpoint = self._preparation.text_to_image

        height, width, _ = call.picture.shape
        prompts = ["", *(region.prompt for region in call.regions)]
        conditioning = self._preparation.embed(checkpoint, prompts).on_canvas(height, width)

        def predict(samples: Tensor, timesteps: Tensor) -> Tensor:
            full = partial(evaluate_and_cache, checkpoint.unet)
            return self._calls.run(_unet_key(checkpoint), full, samples, timesteps, *conditioning.tensors)[0]

        return prompt_agreement(call, checkpoint, latents, predict)

    def _evaluate(self, batch: Sequence[DenoisingState]) -> tuple[Tensor, Tensor]:
        """Predictions and deep features of every row of the batch."""
        checkpoint = batch[0].checkpoint
        samples, timesteps, conditioning = model_inputs(batch)
        if batch[0].reuses_features:
            deep = torch.cat([state.deep_features[-state.rows :] for state in batch if state.deep_features is not None])
            shallow = partial(evaluate_shallow, checkpoint.unet)
            inputs = samples, timesteps, deep, *conditioning.tensors
            return self._calls.run(_shallow_key(checkpoint), shallow, *inputs)[0], deep
        full = partial(evaluate_and_cache, checkpoint.unet)
        inputs = samples, timesteps, *conditioning.tensors
        predictions, features = self._calls.run(_unet_key(checkpoint), full, *inputs)
        return predictions, features


def _kept_features(batch: Sequence[DenoisingState], features: Tensor) -> list[Tensor | None]:
    """The deep features that later steps of each pass may reuse, after an evaluation that has these.

    Those of a whole batch are copied at once. So each pass keeps the batch's alive, until its next full evaluation.
    """
    if not any(state.caches_features for state in batch):
        return [state.deep_features for state in batch]
    own = features.clone().split([state.rows for state in batch])  # a view would keep the model's skips as well
    return [deep if state.caches_features else state.deep_features for state, deep in zip(batch, own, strict=True)]


def _unet_key(checkpoint: Checkpoint) -> str:
    return f"unet {id(checkpoint.unet)}"


def _shallow_key(checkpoint: Checkpoint) -> str:
    return f"shallow {id(checkpoint.unet)}"
