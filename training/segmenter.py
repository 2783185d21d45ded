"""Trains Segment Anything to find the product under a point or inside a box."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor

from inpaint_server.models.sam import PIXEL_MEAN, PIXEL_STD, SamConfig, build_sam
from training.dataset import Composites
from training.lens import develop, frame
from training.loop import Chance, Plan, Training, half_precision, seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """One batch's prompts; exactly one of the two kinds.

    Attributes:
        points: (N, 1, 2) x and y in pixels of the padded square, or None.
        boxes: (N, 4) left, top, right, bottom, or None.
    """

    points: Tensor | None
    boxes: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Photos padded to squares, their masks, and a prompt for each.

    Attributes:
        photos: (N, 3, S, S) float32, normalised, zero where padded.
        targets: (N, 1, S / 2, S / 2) float32, the product's share of each low-resolution pixel.
        inside: (N, 1, S / 2, S / 2) float32, 0 where padded.
        prompts: Points or boxes.
    """

    photos: Tensor
    targets: Tensor
    inside: Tensor
    prompts: Prompts


def centre_point(mask: NDArray[np.uint8]) -> tuple[float, float]:
    """The photo's centre, or where that is not on the product, the product's pixel nearest to it, as (x, y)."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    nearest = np.argmin((rows - height / 2) ** 2 + (columns - width / 2) ** 2)
    return float(columns[nearest]), float(rows[nearest])


def _prompt(rng: np.random.Generator, mask: NDArray[np.uint8], *, box: bool) -> list[float]:
    rows, columns = np.nonzero(mask)
    if box:
        corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
        return (corners + rng.normal(0, 0.02 * max(mask.shape), 4)).tolist()
    if rng.random() < 0.6:
        return list(centre_point(mask))
    chosen = rng.integers(len(rows))
    return [float(columns[chosen]), float(rows[chosen])]


def draw_batch(composites: Composites, rng: np.random.Generator, model: Sam, count: int) -> Batch:
    """Photos of products, framed, developed and padded as Segment Anything's own preparation does it."""
    side = model.image_encoder.img_size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    photos = torch.zeros(count, 3, side, side)
    masks, inside = torch.zeros(count, 1, side, side), torch.zeros(count, 1, side, side)
    by_box = bool(rng.random() < 0.45)
    prompts: list[list[float]] = []
    while len(prompts) < count:
        index = rng.integers(len(composites.mask))
        photo, mask = frame(rng, composites.pixels[index], composites.mask[index], side=side)
        if mask.mean() < 4:  # less than 1.5% product
            continue
        row, (height, width) = len(prompts), mask.shape
        values = torch.from_numpy(develop(rng, photo).astype(np.float32)).permute(2, 0, 1)
        photos[row, :, :height, :width] = (values - mean) / std
        masks[row, 0, :height, :width] = torch.from_numpy(mask.copy()) / 255
        inside[row, 0, :height, :width] = 1
        prompts.append(_prompt(rng, mask, box=by_box))
    places = torch.tensor(prompts, dtype=torch.float32)
    low = 4 * side // model.image_encoder.patch_embed.proj.kernel_size[0]
    return Batch(
        photos=photos,
        targets=F.adaptive_avg_pool2d(masks, low),
        inside=F.adaptive_avg_pool2d(inside, low),
        prompts=Prompts(points=None if by_box else places[:, None], boxes=places if by_box else None),
    )


def predict(model: Sam, photos: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Masks for many photos at once, one prompt each; the published decoder takes many prompts of one photo.

    Returns:
        Logits of the single mask and the three candidates, (N, 4, s, s), and their predicted IoU, (N, 4).
    """
    count = len(photos)
    points = None if prompts.points is None else (prompts.points, torch.ones(count, 1))
    sparse, dense = model.prompt_encoder(points=points, boxes=prompts.boxes, masks=None)
    decoder = model.mask_decoder
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(count, -1, -1), sparse], dim=1)
    source = model.image_encoder(photos) + dense
    position = model.prompt_encoder.get_dense_pe().expand(count, -1, -1, -1)
    states, keys = decoder.transformer(source, position, tokens)
    upscaled = decoder.output_upscaling(keys.transpose(1, 2).reshape(source.shape))
    networks = enumerate(decoder.output_hypernetworks_mlps)
    kernels = torch.stack([network(states[:, 1 + index]) for index, network in networks], dim=1)
    masks = torch.einsum("nkc,nchw->nkhw", kernels, upscaled)
    return masks, decoder.iou_prediction_head(states[:, 0])


def mask_losses(logits: Tensor, quality: Tensor, batch: Batch) -> Mapping[str, Tensor]:
    """Cross-entropy and Dice of the masks, and the error of their predicted IoU.

    Of the three candidates the best one counts in full and the others a little, so that they may specialise without
    any going astray; the single mask counts in full.

    Args:
        logits: (N, 4, s, s).
        quality: Predicted IoU, (N, 4).
        batch: Targets.
    """
    wanted = batch.targets.expand_as(logits)
    weight = batch.inside / batch.inside.mean(dim=(1, 2, 3), keepdim=True)
    entropy = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).mean(dim=(2, 3))
    share = logits.sigmoid() * batch.inside
    overlap = (share * wanted).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (share.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3)) + 1)
    each = 2 * entropy + dice
    single, candidates = each[:, 0], each[:, 1:]
    mask = (single + candidates.min(dim=1).values + 0.3 * candidates.mean(dim=1)).mean()
    with torch.no_grad():
        found, true = (logits > 0) & (batch.inside > 0.5), wanted > 0.5
        iou = (found & true).sum(dim=(2, 3)) / (found | true).sum(dim=(2, 3)).clamp(min=1)
        chosen = iou.gather(1, 1 + quality[:, 1:].argmax(dim=1, keepdim=True)).mean()
    judged = F.mse_loss(quality, iou)
    return {"loss": mask + judged, "mask": mask, "quality": judged, "1 - IoU": 1 - chosen}


def fresh(config: SamConfig, seed: int) -> Sam:
    """An untrained model, its position embeddings and attention drawn instead of left at zero."""
    with seeded(seed):
        model: Any = build_sam(config)
        torch.nn.init.trunc_normal_(model.image_encoder.pos_embed, std=0.02)
        for block in model.image_encoder.blocks:
            torch.nn.init.trunc_normal_(block.attn.qkv.weight, std=0.05)
    return model


def enlarged(model: Sam, config: SamConfig) -> Sam:
    """The same model for larger photos: its tables of positions are stretched, everything else is kept.

    Args:
        model: Trained; left as it is.
        config: Sizes that differ from the model's in `image_size` alone.
    """
    larger = build_sam(config)
    wanted = larger.state_dict()
    weights = {}
    for name, value in model.state_dict().items():
        target = wanted[name].shape
        if value.shape == target:
            weights[name] = value
        elif name.endswith("pos_embed"):  # (1, h, w, c)
            stretched = F.interpolate(value.permute(0, 3, 1, 2), size=target[1:3], mode="bicubic")
            weights[name] = stretched.permute(0, 2, 3, 1)
        else:  # relative positions, (2 x tokens - 1, c)
            weights[name] = F.interpolate(value.T[None], size=target[0], mode="linear")[0].T
    larger.load_state_dict(weights)
    return larger


def train_segmenter(composites: Composites, model: Sam, plan: Plan, folder: Path) -> Sam:
    """Trains Segment Anything.

    Args:
        composites: Products with exact masks.
        model: Trained in place.
        plan: How long and how fast.
        folder: For checkpoint and curve.
    """
    model.train()

    def losses(_step: int, chance: Chance) -> Mapping[str, Tensor]:
        batch = draw_batch(composites, chance.numpy, model, plan.batch)
        with half_precision():
            logits, quality = predict(model, batch.photos, batch.prompts)
        return mask_losses(logits.float(), quality.float(), batch)

    Training(dict(model.named_parameters()), plan, folder).run(losses)
    return model.eval()
