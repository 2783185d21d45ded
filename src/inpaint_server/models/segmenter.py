"""Segment Anything as one function: photo, points and box in, the logits of three masks out.

Kirillov et al., Segment Anything, 2023, section 3: an ambiguous prompt gets three masks and a predicted
intersection over union for each.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from inpaint_server.cache import Cache, content_key
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.calls import MaskLogits, Segment
from inpaint_server.domain.geometry import Box, Point, Size
from inpaint_server.models.device import Device, translate_out_of_memory
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.sam import PIXEL_MEAN, PIXEL_STD, SamConfig, build_sam


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The image encoder's output, 1 x C x h x w float32, and the resized photo's height and width."""

    features: Tensor
    resized: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedSegment(Segment):
    """A call and what of its work needs no device.

    Attributes:
        key: Equal for photos that are encoded once.
        embedding: The photo's, if it was cached.
        resized: If it was not, the photo at the encoder's size, H x W x 3 uint8.
    """

    key: Hashable
    embedding: Embedding | None
    resized: UInt8Array | None


class Segmenter:
    """Holds the model and a cache of photos' embeddings: another point on a cached photo costs only the decoder.

    Args:
        folder: `config.json` and `model.safetensors`.
        device: Where it runs.
        estimator: Measures the memory that calls take.
        cache_bytes: Bytes of embeddings kept.
    """

    def __init__(self, folder: Path, device: Device, estimator: MemoryEstimator, cache_bytes: int = 0) -> None:
        self._device = device
        self._estimator = estimator
        self.embeddings: Cache[Hashable, Embedding] = Cache(cache_bytes, lambda embedding: embedding.features.nbytes)
        with torch.device("meta"):
            self._sam = build_sam(SamConfig.from_json(folder / "config.json"))
        weights = load_file(folder / "model.safetensors", device=str(device.torch_device))
        # The prompt encoder's and mask decoder's few operations mix in coordinates; half precision would move points.
        self._sam.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
        self._sam.pixel_mean, self._sam.pixel_std = (
            torch.tensor(values).view(-1, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD)
        )
        self._sam.to(device.torch_device).requires_grad_(False).eval()
        self._sam.image_encoder.to(device.dtype)
        self._resize = ResizeLongestSide(self._sam.image_encoder.img_size)

    def prepare(self, call: Segment) -> PreparedSegment:
        """Hash the photo, and look its embedding up or else resize it; any thread may call this."""
        key: Hashable = content_key(call.photo) if call.remember else id(call.photo)
        embedding = self.embeddings.get(key) if call.remember else None
        return PreparedSegment(
            photo=call.photo,
            points=call.points,
            box=call.box,
            remember=call.remember,
            key=key,
            embedding=embedding,
            resized=None if embedding is not None else np.array(self._resize.apply_image(call.photo)),
        )

    @torch.inference_mode()
    def segment(self, calls: Sequence[Segment]) -> list[MaskLogits]:
        """Three masks for each call; the photos are encoded together, each once.

        Raises:
            OutOfMemory: the photos do not fit beside the other models.
        """
        with translate_out_of_memory():
            prepared = [call if isinstance(call, PreparedSegment) else self.prepare(call) for call in calls]
            embeddings = self._embeddings(prepared)
            return [self._decode(call, embedding) for call, embedding in zip(calls, embeddings, strict=True)]

    def _embeddings(self, calls: Sequence[PreparedSegment]) -> list[Embedding]:
        resized = {call.key: call.resized for call in calls if call.resized is not None}
        embedded = dict(zip(resized, self._embed(list(resized.values())), strict=True)) if resized else {}
        for key in {call.key for call in calls if call.remember} & embedded.keys():
            self.embeddings.put(key, embedded[key])
        return [call.embedding or embedded[call.key] for call in calls]

    def _embed(self, resized: Sequence[UInt8Array]) -> list[Embedding]:
        pictures = [
            self._sam.preprocess(
                torch.as_tensor(small, device=self._device.torch_device).permute(2, 0, 1)[None].float()
            )
            for small in resized
        ]
        features = self._estimator.run_in_chunks(
            "photos", torch.cat(pictures).to(self._device.dtype), self._sam.image_encoder
        )
        return [
            # A copy: a view would keep the whole batch in the cache.
            Embedding(row.clone(), (small.shape[0], small.shape[1]))
            for row, small in zip(features.float().split(1), resized, strict=True)
        ]

    def _decode(self, call: Segment, embedding: Embedding) -> MaskLogits:
        size = Size(height=call.photo.shape[0], width=call.photo.shape[1])
        sparse, dense = self._sam.prompt_encoder(
            points=self._points(call.points, size), boxes=self._box(call.box, size), masks=None
        )
        logits, scores = self._sam.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self._sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        best, second, third = scores[0].tolist()
        height, width = embedding.resized
        return MaskLogits(
            logits=logits[0].cpu().numpy(),
            scores=(best, second, third),
            padded_side=self._sam.image_encoder.img_size,
            resized=Size(height=height, width=width),
            photo=size,
        )

    def _points(self, points: tuple[Point, ...], size: Size) -> tuple[Tensor, Tensor] | None:
        if not points:
            return None
        coordinates = self._resize.apply_coords(np.array([(p.x, p.y) for p in points]), (size.height, size.width))
        labels = torch.tensor([[p.label for p in points]], device=self._device.torch_device)
        return self._tensor(coordinates)[None], labels

    def _box(self, box: Box | None, size: Size) -> Tensor | None:
        if box is None:
            return None
        corners = np.array([[box.left, box.top, box.right, box.bottom]])
        return self._tensor(self._resize.apply_boxes(corners, (size.height, size.width)))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self._device.torch_device)
