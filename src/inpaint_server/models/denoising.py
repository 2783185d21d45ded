"""Diffusion passes between two steps, and one step of a whole batch of them, whatever their solvers.

All that a pass needs in its steps (coefficients, noise, embeddings, weights) is on the device before the first one, and
the host knows how many rows each step has. So a step copies nothing, reads nothing back and waits for nothing; and
around the model a batch takes as many operations as one pass does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from inpaint_server.domain.request import Sampling
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.prompts import Conditioning, concatenated
from inpaint_server.models.solver import MEMORIES, Solver

_CARRIED: Final = 1 + MEMORIES
"""What a pass carries from step to step: its latents, then what its solver remembers."""

_RESULTS: Final = _CARRIED + 1
"""What a step computes: that, then the canvas under the noise of the next step."""

_OPERANDS: Final = _CARRIED + 3
"""What it computes it from: that, fresh noise, the canvas, the canvas's noise, and then the model's predictions."""


@dataclass(slots=True, kw_only=True, eq=False)
class DenoisingState:
    """A pass of n steps between two of them. Its tensors are on the device; C channels of h x w latent cells.

    Attributes:
        checkpoint: The model it runs on.
        sampling: Steps, guidance and scheduler.
        inputs: n x 2 float32: the time step, and the scale of the latents in the model's input.
        matrices: n x L x 5 float32, see `step_matrices`.
        carried: 4 x C x h x w float32: the latents, then what the solver remembers. A view of its last batch's results,
            which live as long as one of that batch's passes has not taken its next step.
        noise: n x C x h x w float32, what the solver adds in each step.
        canvas: 2 x C x h x w float32: the canvas that the pass starts from (zeros without one), and its first noise.
        free_cells: n x 1 x h x w booleans: which cells may have changed after each step; None without a canvas.
        mask_latents: 1 x 5 x h x w for inpainting (mask, then the masked picture's latents), else None.
        conditioning: A row for the negative prompt where there is guidance, for the prompt, and for each region's.
        region_weights: Rows x 1 x h x w float32, the weight of each row in each cell: 1 for the negative prompt, those
            of the prompts add up to 1; None for one prompt.
        step: Steps done.
        deep_features: Rows x C x h x w of the last full evaluation, where later steps reuse them; else None.
    """

    checkpoint: Checkpoint
    sampling: Sampling
    inputs: Tensor
    matrices: Tensor
    carried: Tensor
    noise: Tensor
    canvas: Tensor
    free_cells: Tensor | None
    mask_latents: Tensor | None
    conditioning: Conditioning
    region_weights: Tensor | None
    step: int = 0
    deep_features: Tensor | None = None

    @property
    def latents(self) -> Tensor:
        """1 x C x h x w float32, what is being denoised."""
        return self.carried[:1]

    @property
    def steps(self) -> int:
        """Steps that this pass takes."""
        return len(self.inputs)

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.steps

    @property
    def batch_key(self) -> tuple[int, torch.Size, int, bool]:
        """Passes with equal keys can share a model evaluation."""
        return id(self.checkpoint), self.carried.shape, self.conditioning.prompt_embeds.shape[1], self.reuses_features

    @property
    def rows(self) -> int:
        """Rows of the current step's model evaluation: one for each prompt, and one for guidance."""
        has_negative = self.sampling.guidance_scale > 1
        return len(self.conditioning) - (has_negative and not is_guided(self.sampling, self.step, self.steps))

    @property
    def step_conditioning(self) -> Conditioning:
        """That of each row of the current step's model evaluation."""
        return self.conditioning[-self.rows :]

    @property
    def input_elements(self) -> int:
        """Numbers in a row of the model's input."""
        extra = 0 if self.mask_latents is None else self.mask_latents.numel()
        return self.latents.numel() + extra

    @property
    def reuses_features(self) -> bool:
        """Whether the current step reuses the deep features of an earlier one."""
        due = self.step % self.sampling.reuse_features == 0
        return not due and self.deep_features is not None and len(self.deep_features) >= self.rows

    @property
    def caches_features(self) -> bool:
        """Whether later steps may reuse the current step's deep features."""
        return self.sampling.reuse_features > 1 and not self.reuses_features

    def take(self, carried: Tensor) -> None:
        """Go on from a step that was computed: 4 x C x h x w, of which the pass knew nothing until now."""
        self.carried = carried
        self.step += 1


def is_guided(sampling: Sampling, step: int, steps: int) -> bool:
    """Whether a step is guided (Kynkäänniemi et al., Guidance in a Limited Interval, 2024)."""
    start, end = sampling.guidance_interval
    return sampling.guidance_scale > 1 and start * steps <= step < end * steps


def step_matrices(solver: Solver, sampling: Sampling, prompts: int) -> Tensor:
    """What each step multiplies with: solver, guidance and the canvas's noise in one matrix.

    Guidance is classifier-free (Ho and Salimans, 2022, eq. 6, in the form e_u + s (e_c - e_u)). Of several prompts e_c
    is the sum, since the predictions are weighted cell by cell before (after Bar-Tal et al., MultiDiffusion, 2023, eq.
    5, with one window for all).

    Args:
        solver: The pass's.
        sampling: Its guidance.
        prompts: How many it has, the negative one aside.

    Returns:
        n x (7 + rows) x 5 float32 on the CPU, transposed: a row for each of latents, three memories, fresh noise,
        canvas, canvas's noise, and the rows of the model's prediction; a column for each of latents, three memories,
        and canvas under the next step's noise (after the last step without noise).
    """
    steps, scale = solver.steps, sampling.guidance_scale
    rows = prompts + (scale > 1)
    guided = [1 - scale, *[scale] * prompts]
    alone = [1.0] * prompts + [0.0] * (rows - prompts)  # of the prompts' rows, which are then the first ones
    weights = solver.updates.new_tensor(
        [guided if is_guided(sampling, step, steps) else alone for step in range(steps)]
    )
    matrices = weights.new_zeros(steps, _OPERANDS + rows, _RESULTS)
    matrices[:, :_CARRIED, :_CARRIED] = solver.updates[:, :, :_CARRIED].mT
    matrices[:, _CARRIED, :_CARRIED] = solver.updates[:, :, -1]
    matrices[:-1, _CARRIED + 1 : _OPERANDS, -1] = solver.noise_levels[1:]
    matrices[-1, _CARRIED + 1, -1] = 1
    matrices[:, _OPERANDS:, :_CARRIED] = weights[:, :, None] * solver.updates[:, None, :, -2]
    return matrices.float()


def model_inputs(batch: Sequence[DenoisingState]) -> tuple[Tensor, Tensor, Conditioning]:
    """The current step's model inputs of a batch: a row for each of its passes' rows.

    Args:
        batch: Passes of one `batch_key`.

    Returns:
        Samples, N x 4 or 9 x h x w in the model's precision; time steps, N float32; conditioning, N rows.
    """
    rows = [state.rows for state in batch]
    inputs = torch.stack([state.inputs[state.step] for state in batch])
    scaled = torch.stack([state.carried[0] for state in batch]) * inputs[:, 1, None, None, None]
    samples = _repeated(scaled.to(batch[0].conditioning.prompt_embeds.dtype), rows)
    masks = [
        state.mask_latents.expand(count, -1, -1, -1)
        for state, count in zip(batch, rows, strict=True)
        if state.mask_latents is not None
    ]
    if masks:
        samples = torch.cat([samples, torch.cat(masks)], dim=1)
    return samples, _repeated(inputs[:, 0], rows), concatenated([state.step_conditioning for state in batch])


def solve(batch: Sequence[DenoisingState], predictions: Tensor) -> list[Tensor]:
    """Compute one step of a batch. The passes are left as they are, so that the step can be repeated.

    A pass with a canvas keeps that canvas, under the next step's noise, in the cells that may not change yet (Levin and
    Fried, Differential Diffusion, 2023, algorithm 1: the less a cell may change, the later it is freed).

    Args:
        batch: Passes of one `batch_key`.
        predictions: The model's, a row for each row of `model_inputs`.

    Returns:
        What each pass carries after the step, 4 x C x h x w float32: views of one tensor.
    """
    rows = [state.rows for state in batch]
    most = max(rows)
    if any(state.region_weights is not None for state in batch):
        predictions = predictions * _row_weights(batch, rows)
    operands: list[Tensor] = []
    for state, own in zip(batch, predictions.float().split(rows), strict=True):
        operands += [state.carried, state.noise[state.step, None], state.canvas, own]
        operands += [own[:1]] * (most - len(own))  # any numbers: their coefficients are 0
    # In float32 throughout: torch uses TF32 in matrix products only if that is switched on, and nothing here does.
    together = torch.cat(operands).unflatten(0, (len(batch), _OPERANDS + most))
    results = torch.bmm(_matrices(batch, _OPERANDS + most).mT, together.flatten(2)).unflatten(2, together.shape[2:])
    if any(state.free_cells is not None for state in batch):
        _keep_canvas(batch, results)
    return list(results[:, :_CARRIED].unbind())


def _repeated(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Each row so many times."""
    return torch.cat([row.expand(count, *row.shape[1:]) for row, count in zip(rows.split(1), counts, strict=True)])


def _row_weights(batch: Sequence[DenoisingState], rows: Sequence[int]) -> Tensor:
    """N x 1 x h x w, the weight of each row of the current step's predictions in each cell."""
    ones = batch[0].carried.new_ones(1, 1, 1, 1).expand(max(rows), 1, *batch[0].carried.shape[2:])
    return torch.cat(
        [
            ones[:count] if state.region_weights is None else state.region_weights[-count:]
            for state, count in zip(batch, rows, strict=True)
        ]
    )


def _matrices(batch: Sequence[DenoisingState], length: int) -> Tensor:
    """N x length x 5, the current step's matrices, with zeros for rows that a pass does not have."""
    matrices = [state.matrices[state.step, :length] for state in batch]
    if all(len(matrix) == length for matrix in matrices):
        return torch.stack(matrices)
    zeros = matrices[0].new_zeros(length, _RESULTS)
    padded = [part for matrix in matrices for part in (matrix, zeros[len(matrix) :])]
    return torch.cat(padded).unflatten(0, (len(batch), length))


def _keep_canvas(batch: Sequence[DenoisingState], results: Tensor) -> None:
    """Put the canvas into those cells of the results' latents that may not change yet."""
    everywhere = results.new_ones(1, 1, 1, dtype=torch.bool).expand(1, *results.shape[3:])
    free = torch.stack([everywhere if state.free_cells is None else state.free_cells[state.step] for state in batch])
    torch.where(free, results[:, 0], results[:, -1], out=results[:, 0])
