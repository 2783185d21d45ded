"""Puts engine and models together; no other module imports both."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from inpaint_server.domain.arrays import Pixels, ProductMask, frozen_array
from inpaint_server.domain.request import BundleDefaults
from inpaint_server.domain.results import Answer, ModelCard
from inpaint_server.engine.backend import ModelBackend
from inpaint_server.engine.engine import Engine
from inpaint_server.errors import InvalidRequest
from inpaint_server.settings import Provenance, Settings, let_waiting_threads_sleep
from inpaint_server.wire.decode import Limits, ParsedRequest, RequestReader
from inpaint_server.wire.describe import CompletedRequest
from inpaint_server.wire.resolve import resolve
from inpaint_server.wire.schema import validate
from inpaint_server.wire.signing import Sign, signer

if TYPE_CHECKING:
    from inpaint_server.models.backend import TorchBackend

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A bundle on its device, ready to work."""

    engine: Engine[Any]
    reader: RequestReader
    card: ModelCard
    provenance: Provenance = "full"
    sign: Sign | None = None

    def complete(self, parsed: ParsedRequest, answer: Answer, *, request_id: str, decode_ms: float) -> CompletedRequest:
        """The engine's answer with everything else that its response reports."""
        return CompletedRequest(
            parsed=parsed,
            answer=answer,
            card=self.card,
            request_id=request_id,
            decode_ms=decode_ms,
            provenance=self.provenance,
            sign=self.sign,
        )


def load(settings: Settings) -> Loaded:
    """Read the weights, start the engine and warm every model up.

    Raises:
        BundleError: there is no bundle, or it cannot be used.
        SettingsError: the device does not exist, or the signing settings cannot be used.
        OutOfMemory: the models do not fit on the device.
    """
    sign = signer(settings)
    backend, defaults = load_backend(settings)
    from inpaint_server.models import memory

    loaded = assemble(settings, backend, defaults, backend.card)
    loaded.engine.call_when_idle(memory.trim_heap)
    warm_up(loaded.engine, defaults, settings.start_timeout_s)
    return replace(loaded, sign=sign)


def load_backend(settings: Settings) -> tuple[TorchBackend, BundleDefaults]:
    """The settings' bundle on the settings' device, and what it decides about requests.

    Raises:
        BundleError: there is no bundle, or it cannot be used.
        SettingsError: the device or, where the UNets are to be compiled, a compiler does not exist.
        OutOfMemory: the models do not fit on the device.
    """
    let_waiting_threads_sleep()
    from inpaint_server.models import bundle

    opened = bundle.open_bundle(bundle.find(settings.bundle, settings.model_dir))
    bundle.read_ahead(opened)
    from inpaint_server.models import backend, capture, device, memory  # torch takes seconds to import

    target = device.choose(settings.device, settings.dtype)
    models = backend.TorchBackend(
        opened,
        target,
        photo_cache_bytes=int(settings.photo_cache_mb * 1e6),
        prompt_cache_bytes=int(settings.prompt_cache_mb * 1e6),
        capture=capture.capture_for(target) if settings.cuda_graphs == "auto" else None,
        compiled=settings.compile == "unet",
    )
    models.capture(opened.defaults.size, settings.max_batch)
    memory.trim_heap()
    log.info("weights_loaded", bundle=models.card.bundle)
    return models, opened.defaults


def assemble(settings: Settings, backend: ModelBackend[Any], defaults: BundleDefaults, card: ModelCard) -> Loaded:
    """An engine on a backend, and the reader of its requests, both within the settings' limits."""
    engine = Engine(
        backend,
        queue=settings.queue,
        max_batch=settings.max_batch,
        background_cache_bytes=int(settings.background_cache_mb * 1e6),
        mask_cache_bytes=int(settings.mask_cache_mb * 1e6),
        call_timeout_s=settings.call_timeout_s,
    )
    limits = Limits(
        max_body_bytes=settings.max_body_bytes,
        max_pixels=int(settings.max_megapixels * 1e6),
        max_canvas_pixels=int(settings.max_canvas_megapixels * 1e6),
    )
    return Loaded(engine=engine, reader=RequestReader(limits, defaults), card=card, provenance=settings.file_provenance)


def warm_up(engine: Engine[Any], defaults: BundleDefaults, timeout_s: float) -> None:
    """Run one advert and one mask of a grey photo, so that no caller waits for kernels and memory to be set up."""
    size = defaults.size
    grey = Pixels(frozen_array(np.full((size.height, size.width, 3), 128, np.uint8)))
    white = ProductMask(frozen_array(np.full((size.height, size.width), 255, np.uint8)))
    fields = {
        "background_prompt": "",
        "layers": [{"region": "around", "prompt": ""}],
        "placement": "centre",
        "steps": 1,
        "seed": 0,
        "shadow": 0.0,
    }
    advert = resolve(validate(fields, has_image=True), grey, white, defaults, draw_seed=lambda: 0)
    engine.submit(advert, deadline_s=timeout_s).answer.result()
    mask = replace(advert, task="mask", mask=None)
    with contextlib.suppress(InvalidRequest):  # a grey photo contains no product
        engine.submit(mask, deadline_s=timeout_s).answer.result()
