"""Stable Diffusion, step by step, over batches of pictures that need not start or end together.

Text-to-image and inpainting (Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022)
share one loop: passes are begun, advanced any number of times beside whichever others, and finished. Each carries its
own solver, time step, guidance, conditioning and noise, so a picture does not depend on what it was batched with.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inpaint_server.cache import Cache
from inpaint_server.domain.arrays import PaintMask, Pixels, frozen_array
from inpaint_server.domain.calls import DiffusionCall, Generate, Inpaint, Score
from inpaint_server.domain.geometry import Size
from inpaint_server.errors import Internal
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.denoising import DenoisingState, Origin
from inpaint_server.models.device import Device, translate_out_of_memory
from inpaint_server.models.feature_reuse import evaluate_and_keep, evaluate_outermost
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.schedulers import make_scheduler
from inpaint_server.models.scoring import agreement

_OVERFLOWED = "The models' numbers overflow in {}: set INPAINT_DTYPE to bfloat16 or float32."
_JOIN = 2
"""Cells over which what is repainted from a canvas joins what is kept of it."""


class Diffusion:
    """Begins, advances and finishes passes on two checkpoints; of past requests it keeps the prompts' embeddings.

    Args:
        text_to_image: Stable Diffusion.
        inpainting: Stable Diffusion Inpainting.
        device: Where both run.
        gauge: Measures what calls take.
        cache_bytes: Bytes of prompts' embeddings kept.
    """

    def __init__(
        self,
        text_to_image: Checkpoint,
        inpainting: Checkpoint,
        device: Device,
        gauge: MemoryEstimator,
        cache_bytes: int = 0,
    ) -> None:
        self.prompts: Cache[tuple[int, str], Tensor] = Cache(cache_bytes, lambda kept: kept.nbytes)
        self._text_to_image = text_to_image
        self._inpainting = inpainting
        self._device = device
        self._gauge = gauge

    @torch.inference_mode()
    def begin(self, asks: Sequence[DiffusionCall]) -> list[DenoisingState]:
        """Prepare passes: noise, conditioning, and for inpainting the masked pictures' latents, encoded together.

        Raises:
            OutOfMemory: the canvases do not fit.
        """
        with translate_out_of_memory():
            inpaints = [ask for ask in asks if isinstance(ask, Inpaint)]
            contexts = iter(self._contexts(inpaints))
            starts = [_picture(ask.canvas) for ask in inpaints if ask.strength < 1]
            origins = iter(self._encoded(self._inpainting, starts))
            return [
                self._begin(
                    ask,
                    next(contexts) if isinstance(ask, Inpaint) else None,
                    next(origins) if isinstance(ask, Inpaint) and ask.strength < 1 else None,
                )
                for ask in asks
            ]

    @torch.inference_mode()
    def advance(self, batch: Sequence[DenoisingState]) -> None:
        """One step of every pass in the batch (all of one `batch_key`), in one model evaluation.

        Nothing has changed if the evaluation runs out of memory: a smaller batch can be tried.

        Raises:
            OutOfMemory: the batch does not fit.
        """
        rows = [len(one.words) for one in batch]
        with translate_out_of_memory():
            predictions, deep = self._evaluate(batch)
        for one, prediction, features in zip(batch, predictions.split(rows), deep.split(rows), strict=True):
            if one.keeps and not one.reuses:
                one.deep = features.clone()  # a view would keep the whole batch's
            one.advance(prediction)

    @torch.inference_mode()
    def finish(self, batch: Sequence[DenoisingState]) -> list[Pixels]:
        """Decode passes that are done, those of one size together.

        Raises:
            OutOfMemory: the canvases do not fit.
            Internal: the passes' numbers overflowed: there is no picture in them.
        """
        made: dict[int, Pixels] = {}
        with translate_out_of_memory():
            for alike in _alike([(id(one.checkpoint.vae), one.latents.shape) for one in batch]):
                checkpoint = batch[alike[0]].checkpoint
                latents = torch.cat([batch[index].latents for index in alike])
                pictures = self._gauge.in_parts(f"decode {id(checkpoint.vae)}", latents, checkpoint.decode)
                if not pictures.isfinite().all():
                    raise Internal(_OVERFLOWED.format(self._device.dtype_name))
                made.update(zip(alike, map(_pixels, pictures), strict=True))
        return [made[index] for index in range(len(batch))]

    @torch.inference_mode()
    def score(self, asks: Sequence[Score]) -> list[float]:
        """How well each picture shows its words; see `judgement.agreement`.

        Raises:
            OutOfMemory: the pictures do not fit.
        """
        with translate_out_of_memory():
            latents = self._encoded(self._text_to_image, [_picture(ask.picture) for ask in asks])
            return [self._agreement(ask, one) for ask, one in zip(asks, latents, strict=True)]

    def _agreement(self, ask: Score, latents: Tensor) -> float:
        checkpoint = self._text_to_image

        def evaluate(rows: Tensor, timesteps: Tensor, words: Tensor) -> Tensor:
            return self._gauge.measured(
                _evaluation(checkpoint),
                rows,
                lambda seen: checkpoint.unet(seen, timesteps, words, return_dict=False)[0],
            )

        words = self._embedded(checkpoint, ["", *(region.prompt for region in ask.regions)])
        return agreement(ask, checkpoint, latents, evaluate, words)

    def max_passes(self, state: DenoisingState) -> int:
        """How many passes like this one fit into the free memory in one evaluation, as measured; at least 1."""
        rows = self._gauge.max_rows(_evaluation(state.checkpoint), state.model_input[0].numel())
        return max(1, rows // len(state.words))

    def _evaluate(self, batch: Sequence[DenoisingState]) -> tuple[Tensor, Tensor]:
        """Predictions and deep features of every row of the batch."""
        unet = batch[0].checkpoint.unet
        inputs = torch.cat([one.model_input.expand(len(one.words), -1, -1, -1) for one in batch])
        timesteps = torch.cat([one.timestep.float().expand(len(one.words)) for one in batch])
        words = torch.cat([one.words for one in batch])
        if batch[0].reuses:
            deep = torch.cat([one.deep[-len(one.words) :] for one in batch if one.deep is not None])
            return evaluate_outermost(unet, inputs, timesteps, words, deep), deep
        return self._gauge.measured(
            _evaluation(batch[0].checkpoint), inputs, lambda seen: evaluate_and_keep(unet, seen, timesteps, words)
        )

    def _begin(self, ask: DiffusionCall, context: Tensor | None, canvas: Tensor | None) -> DenoisingState:
        checkpoint = self._checkpoint(ask)
        size = ask.size if isinstance(ask, Generate) else Size(height=ask.canvas.shape[0], width=ask.canvas.shape[1])
        scheduler = make_scheduler(ask.sampling.scheduler, checkpoint.noise_schedule)
        scheduler.set_timesteps(ask.sampling.steps, device=self._device.torch_device)
        generator = torch.Generator().manual_seed(ask.noise_seed)
        noise = checkpoint.noise(size.height, size.width, generator)
        begun = DenoisingState(
            checkpoint=checkpoint,
            sampling=ask.sampling,
            scheduler=scheduler,
            latents=noise * scheduler.init_noise_sigma,
            context=context,
            conditioning=self._conditioning(checkpoint, ask),
            shares=None if isinstance(ask, Generate) else self._shares(checkpoint, ask),
            generator=generator,
        )
        if isinstance(ask, Inpaint) and canvas is not None:
            begun.start_from(Origin(latents=canvas, noise=noise, change=self._change(canvas, ask)), ask.strength)
        return begun

    def _checkpoint(self, ask: DiffusionCall) -> Checkpoint:
        usual = self._text_to_image if isinstance(ask, Generate) else self._inpainting
        if not ask.sampling.few_step_weights:
            return usual
        assert usual.few_step is not None, "weights are only asked for where the bundle has them"
        return usual.few_step

    def _contexts(self, asks: Sequence[Inpaint]) -> list[Tensor]:
        """For each the five extra channels of the inpainting model: mask at latent size, masked picture's latents."""
        masks = [_cells(ask.mask) for ask in asks]
        known = [_picture(ask.canvas) * (1 - mask) for ask, mask in zip(asks, masks, strict=True)]
        return [
            torch.cat([functional.interpolate(mask[None], size=latents.shape[-2:]).to(latents), latents], dim=1)
            for mask, latents in zip(masks, self._encoded(self._inpainting, known), strict=True)
        ]

    def _encoded(self, checkpoint: Checkpoint, pictures: Sequence[Tensor]) -> list[Tensor]:
        """1 x 4 x h x w latents of each 3 x H x W picture in [-1, 1]; those of one size are encoded together."""
        made: dict[int, Tensor] = {}
        for alike in _alike([picture.shape for picture in pictures]):
            some = torch.stack([pictures[index] for index in alike]).to(self._device.torch_device, self._device.dtype)
            latents = self._gauge.in_parts(f"encode {id(checkpoint.vae)}", some, checkpoint.encode)
            made.update(zip(alike, latents.split(1), strict=True))
        return [made[index] for index in range(len(pictures))]

    def _change(self, canvas: Tensor, ask: Inpaint) -> Tensor:
        """1 x 1 x h x w: 1 well inside what is repainted, less in its outermost cells, 0 where all is kept."""
        mask = functional.interpolate(_cells(ask.mask)[None], size=canvas.shape[-2:])
        near = functional.avg_pool2d(mask, 2 * _JOIN + 1, stride=1, padding=_JOIN, count_include_pad=False)
        return (mask * (2 * near - 1).clamp(min=0)).to(canvas)

    def _conditioning(self, checkpoint: Checkpoint, ask: DiffusionCall) -> Tensor:
        """Rows x tokens x channels: the prompts, and before them the negative prompt where guidance needs it."""
        regions = () if isinstance(ask, Generate) else ask.regions
        guidance = [ask.negative_prompt] if ask.sampling.guidance_scale > 1 else []
        return self._embedded(checkpoint, [*guidance, ask.prompt, *(region.prompt for region in regions)])

    def _embedded(self, checkpoint: Checkpoint, texts: Sequence[str]) -> Tensor:
        """Texts x tokens x channels."""
        key = id(checkpoint.text_encoder)
        return torch.cat(
            [self.prompts.get_or_compute((key, text), lambda text=text: checkpoint.embed(text)) for text in texts]
        )

    def _shares(self, checkpoint: Checkpoint, ask: Inpaint) -> Tensor | None:
        """P x 1 x h x w: in each cell of the latents the share of the prompt, then of each region's; they add up to 1.

        A cell that an outline crosses is shared in proportion to its pixels.
        """
        if not ask.regions:
            return None
        masks = torch.stack([torch.from_numpy((region.mask > 127).astype(np.float32)) for region in ask.regions])
        shares = [torch.ones_like(masks[0])]
        for mask in masks:
            shares = [*(share * (1 - mask) for share in shares), mask]
        cells = functional.avg_pool2d(torch.stack(shares)[:, None], checkpoint.latent_scale)
        return cells.to(self._device.torch_device, self._device.dtype)


def _picture(pixels: Pixels) -> Tensor:
    """A picture, 3 x H x W in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1


def _cells(mask: PaintMask) -> Tensor:
    """1 x H x W, 1 where the canvas is repainted."""
    return torch.from_numpy((mask > 127).astype(np.float32))[None]


def _evaluation(checkpoint: Checkpoint) -> str:
    return f"evaluate {id(checkpoint.unet)}"


def _alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """The indices of equal keys together."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _pixels(decoded: Tensor) -> Pixels:
    """A 3 x H x W picture, about [-1, 1], as H x W x 3 uint8, rounded."""
    unit = (decoded.float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return Pixels(frozen_array(np.rint(unit * 255).astype(np.uint8)))
