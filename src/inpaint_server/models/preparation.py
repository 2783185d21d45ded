"""What a pass needs before its first step: noise, latents of its canvas, prompt embeddings, weights of its regions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from inpaint_server.cache import Cache
from inpaint_server.domain.calls import DiffusionCall, Generate, Inpaint
from inpaint_server.domain.geometry import Size
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.denoising import DenoisingState, step_matrices
from inpaint_server.models.device import Device
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.prompts import Conditioning, concatenated
from inpaint_server.models.solver import MEMORIES, Solver, make_solver
from inpaint_server.models.tensors import copied_to, mask_tensor, picture_tensor

_FEATHER_CELLS = 2
"""Latent cells over which what is repainted from a canvas fades into what is kept of it."""


class PassPreparation:
    """Begins passes on two checkpoints.

    Args:
        text_to_image: Stable Diffusion.
        inpainting: Stable Diffusion Inpainting.
        device: Where both run.
        estimator: Measures the memory that calls take.
        cache_bytes: Bytes of prompt embeddings kept.
    """

    def __init__(
        self,
        text_to_image: Checkpoint,
        inpainting: Checkpoint,
        device: Device,
        estimator: MemoryEstimator,
        cache_bytes: int = 0,
    ) -> None:
        self.embeddings: Cache[tuple[int, str, int], Conditioning] = Cache(cache_bytes, lambda one: one.nbytes)
        self.text_to_image = text_to_image
        self._inpainting = inpainting
        self._device = device
        self._estimator = estimator

    def begin(self, calls: Sequence[DiffusionCall]) -> list[DenoisingState]:
        """The states of passes before their first step; the canvases of one size are encoded together.

        A UNet that sees no mask inpaints as diffusers' pipelines let it: after every step the canvas, under the noise
        of the next, replaces what is kept.
        """
        inpaints = [call for call in calls if isinstance(call, Inpaint)]
        masked = inpaints if self._inpainting.sees_mask else []
        kept = [call for call in inpaints if call.strength < 1 or not self._inpainting.sees_mask]
        mask_latents = dict(zip(map(id, masked), self._mask_latents(masked), strict=True))
        canvases = self.encode(self._inpainting, [picture_tensor(call.canvas) for call in kept])
        latents = dict(zip(map(id, kept), canvases, strict=True))
        return [self._begin(call, mask_latents.get(id(call)), latents.get(id(call))) for call in calls]

    def encode(self, checkpoint: Checkpoint, pictures: Sequence[Tensor]) -> list[Tensor]:
        """1 x 4 x h x w latents of each 3 x H x W picture in [-1, 1]; those of one size are encoded together."""
        latents: dict[int, Tensor] = {}
        for indices in equal_indices([picture.shape for picture in pictures]):
            batch = self._copied(torch.stack([pictures[index] for index in indices])).to(self._device.dtype)
            encoded = self._estimator.run_in_chunks(
                f"encode {id(checkpoint.vae)} {checkpoint.vae.dtype}", batch, checkpoint.encode
            )
            latents.update(zip(indices, encoded.split(1), strict=True))
        return [latents[index] for index in range(len(pictures))]

    def embed(self, checkpoint: Checkpoint, prompts: Sequence[str]) -> Conditioning:
        """A row for each prompt; all have as many chunks as the longest needs."""
        encoder = checkpoint.prompts
        chunks = max(encoder.chunks(prompt) for prompt in prompts)
        return concatenated(
            [
                self.embeddings.get_or_compute(
                    (id(encoder), prompt, chunks), lambda prompt=prompt: encoder.embed(prompt, chunks)
                )
                for prompt in prompts
            ]
        )

    def _begin(self, call: DiffusionCall, mask_latents: Tensor | None, canvas: Tensor | None) -> DenoisingState:
        checkpoint = self._checkpoint(call)
        size = (
            call.size if isinstance(call, Generate) else Size(height=call.canvas.shape[0], width=call.canvas.shape[1])
        )
        strength, prompts = (1.0, 1) if isinstance(call, Generate) else (call.strength, 1 + len(call.regions))
        solver = make_solver(call.sampling.scheduler, checkpoint.noise_schedule, call.sampling.steps, strength)
        generator = torch.Generator().manual_seed(call.noise_seed)

        def draw() -> Tensor:
            return checkpoint.noise(size.height, size.width, generator)

        noise = self._copied(draw())
        start = torch.cat([torch.zeros_like(noise) if canvas is None else canvas.float(), noise])
        carried = torch.zeros_like(noise).repeat(1 + MEMORIES, 1, 1, 1)
        carried[0] = solver.start[0] * start[0] + solver.start[1] * start[1]
        return DenoisingState(
            checkpoint=checkpoint,
            sampling=call.sampling,
            inputs=self._copied(torch.stack([solver.timesteps, solver.input_scales], dim=1).float()),
            matrices=self._copied(step_matrices(solver, call.sampling, prompts)),
            carried=carried,
            noise=self._copied(_step_noise(solver, draw)).expand(solver.steps, *noise.shape[1:]),
            canvas=start,
            free_cells=(
                self._copied(_free_cells(noise.shape[-2:], call, solver.steps))
                if isinstance(call, Inpaint) and canvas is not None
                else None
            ),
            mask_latents=mask_latents,
            conditioning=self._conditioning(checkpoint, call).on_canvas(size.height, size.width),
            region_weights=None if isinstance(call, Generate) else self._region_weights(checkpoint, call),
        )

    def _copied(self, tensor: Tensor) -> Tensor:
        return copied_to(self._device.torch_device, tensor)

    def _checkpoint(self, call: DiffusionCall) -> Checkpoint:
        checkpoint = self.text_to_image if isinstance(call, Generate) else self._inpainting
        if not call.sampling.few_step_weights:
            return checkpoint
        assert checkpoint.few_step is not None, "few-step weights are requested only where the bundle has them"
        return checkpoint.few_step

    def _mask_latents(self, calls: Sequence[Inpaint]) -> list[Tensor]:
        """The inpainting model's five extra channels for each call: mask at latent size, masked picture's latents."""
        masks = [mask_tensor(call.mask) for call in calls]
        masked = [picture_tensor(call.canvas) * (1 - mask) for call, mask in zip(calls, masks, strict=True)]
        return [
            torch.cat(
                [self._copied(functional.interpolate(mask[None], size=latents.shape[-2:])).to(latents.dtype), latents],
                dim=1,
            )
            for mask, latents in zip(masks, self.encode(self._inpainting, masked), strict=True)
        ]

    def _conditioning(self, checkpoint: Checkpoint, call: DiffusionCall) -> Conditioning:
        """Rows of the negative prompt where guidance needs it, the prompt, and the regions' prompts."""
        regions = () if isinstance(call, Generate) else call.regions
        negative = [call.negative_prompt] if call.sampling.guidance_scale > 1 else []
        return self.embed(checkpoint, [*negative, call.prompt, *(region.prompt for region in regions)])

    def _region_weights(self, checkpoint: Checkpoint, call: Inpaint) -> Tensor | None:
        """Rows x 1 x h x w: in each latent cell the weight of the prompt, then of each region's; they add up to 1.

        Before them the negative prompt's row, if there is guidance, has the weight 1. A cell that a region's outline
        crosses is weighted by its pixels on either side.
        """
        if not call.regions:
            return None
        masks = torch.cat([mask_tensor(region.mask) for region in call.regions])
        weights = [torch.ones_like(masks[0])]
        for mask in masks:
            weights = [*(weight * (1 - mask) for weight in weights), mask]
        negative = [torch.ones_like(masks[0])] if call.sampling.guidance_scale > 1 else []
        cells = functional.avg_pool2d(torch.stack([*negative, *weights])[:, None], checkpoint.latent_scale)
        return self._copied(cells)


def equal_indices(keys: Sequence[Hashable]) -> list[list[int]]:
    """The indices of equal keys, grouped."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _step_noise(solver: Solver, draw: Callable[[], Tensor]) -> Tensor:
    """What a solver adds in each step, steps x 4 x h x w, drawn in their order; 1 x 1 x 1 x 1 if it never adds any."""
    draws = solver.draws_noise.tolist()
    if not any(draws):
        return torch.zeros(1, 1, 1, 1)
    drawn = [draw() if one else None for one in draws]
    zeros = torch.zeros_like(next(one for one in drawn if one is not None))
    return torch.cat([zeros if one is None else one for one in drawn])


def _free_cells(size: torch.Size, call: Inpaint, steps: int) -> Tensor:
    """Which cells may have changed after each step, steps x 1 x h x w booleans.

    Levin and Fried, Differential Diffusion, 2023, algorithm 1. The map says how much a cell may change: 1 well inside
    what is repainted, 0 where everything is kept, and where the pass starts from the canvas less than 1 in the
    outermost cells.
    """
    mask = functional.interpolate(mask_tensor(call.mask)[None], size=size)
    if call.strength == 1:
        return torch.cat([mask > 1 - step / steps for step in range(1, steps + 1)])
    near = functional.avg_pool2d(
        mask, 2 * _FEATHER_CELLS + 1, stride=1, padding=_FEATHER_CELLS, count_include_pad=False
    )
    change_map = mask * (2 * near - 1).clamp(min=0)
    return torch.cat([change_map > 1 - step / steps for step in range(1, steps + 1)])
