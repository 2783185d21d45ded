"""Latents to pictures on the host, beside whatever the device does next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inpaint_server.domain.arrays import Pixels, frozen_array
from inpaint_server.errors import Internal
from inpaint_server.models.checkpoint import Checkpoint
from inpaint_server.models.device import Device, translate_out_of_memory
from inpaint_server.models.memory import MemoryEstimator
from inpaint_server.models.tensors import byte_pictures

_OVERFLOW = "The models' numbers overflow in {}: set INPAINT_DTYPE to bfloat16 or float32."


class Decoder:
    """Decodes passes and copies their pictures to the host; on CUDA nothing here waits for the device.

    The decoding itself is queued behind the steps that were computed before it, and the next steps behind it: the
    device is never idle, and no second stream needs memory of its own. Only the copy runs on a stream beside them.

    Args:
        device: Where the autoencoders run.
        estimator: Measures the memory that they take.
    """

    def __init__(self, device: Device, estimator: MemoryEstimator) -> None:
        self.device = device
        self._estimator = estimator
        self._copies: Any = torch.cuda.Stream() if device.torch_device.type == "cuda" else None

    @torch.inference_mode()
    def start(self, checkpoint: Checkpoint, latents: Tensor) -> list[PendingPicture]:
        """Start to decode N x 4 x h x w latents, N pictures."""
        dtype = checkpoint.vae.dtype
        kind = f"decode {id(checkpoint.vae)} {dtype}"
        decoded = self._estimator.run_in_chunks(kind, latents, checkpoint.decode)
        finite = decoded.isfinite().flatten(1).all(dim=1)
        copy = HostCopy(byte_pictures(decoded.float() / 2 + 0.5), finite, stream=self._copies)
        return [
            PendingPicture(decoder=self, checkpoint=checkpoint, latents=one, dtype=dtype, copy=copy, row=row)
            for row, one in enumerate(latents.split(1))
        ]


class HostCopy:
    """Two tensors on their way to the host: on CUDA into pinned memory, on a stream of its own.

    Args:
        pictures: N x H x W x 3 uint8.
        finite: N, bool.
        stream: The CUDA stream that copies; None on the CPU, where nothing is copied.
    """

    def __init__(self, pictures: Tensor, finite: Tensor, *, stream: Any) -> None:
        self._pictures, self._finite, self._copied = pictures, finite, None
        if stream is None:
            return
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._pictures, self._finite = (_into_pinned(one, stream) for one in (pictures, finite))
            self._copied: Any = torch.cuda.Event(blocking=True)
            self._copied.record(stream)

    def done(self) -> bool:
        """Whether both have arrived."""
        return self._copied is None or self._copied.query()

    def wait(self, row: int) -> Pixels | None:
        """One picture, once it has arrived; None if it has numbers that are not finite."""
        if self._copied is not None:
            self._copied.synchronize()
        if not self._finite[row]:
            return None
        return Pixels(frozen_array(np.array(self._pictures[row].numpy())))  # a copy: pinned memory is used again


def _into_pinned(tensor: Tensor, stream: Any) -> Tensor:
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    tensor.record_stream(stream)  # its memory is not used again before it is copied
    return pinned.copy_(tensor, non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PendingPicture:
    """A picture that is being decoded.

    Attributes:
        decoder: What decodes it.
        checkpoint: Its model.
        latents: 1 x 4 x h x w.
        dtype: The precision it is decoded in.
        copy: The batch's copy to the host.
        row: The picture's in it.
    """

    decoder: Decoder
    checkpoint: Checkpoint
    latents: Tensor
    dtype: torch.dtype
    copy: HostCopy
    row: int

    def ready(self) -> bool:
        """Whether `pixels` returns at once."""
        return self.copy.done()

    def pixels(self) -> Pixels:
        """The picture, H x W x 3; where half precision overflowed, decoded once more, in float32.

        Raises:
            Internal: the pass's own numbers overflowed, so that there is no picture.
            OutOfMemory: the autoencoder does not fit in float32.
        """
        with translate_out_of_memory():
            pixels = self.copy.wait(self.row)
            if pixels is not None:
                return pixels
            if self.dtype == torch.float32 or not self.latents.isfinite().all():
                raise Internal(_OVERFLOW.format(self.decoder.device.dtype_name))
            self.checkpoint.upcast_autoencoder()
            (again,) = self.decoder.start(self.checkpoint, self.latents)
            return again.pixels()
