"""Wires engine and models: the one place that knows both."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog

from inpaint_server.domain.arrays import Pixels, ProductMask, frozen_array
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import AdvertRequest, BundleDefaults, InpaintLayer, Sampling
from inpaint_server.domain.results import ModelCard
from inpaint_server.engine.engine import Engine
from inpaint_server.errors import InvalidRequest
from inpaint_server.settings import Settings, let_waiting_threads_sleep
from inpaint_server.wire.decode import Limits, Reader
from inpaint_server.wire.signing import Sign, signer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A bundle on its device, ready to work."""

    engine: Engine[Any]
    reader: Reader
    card: ModelCard
    sign: Sign | None = None


def load(settings: Settings) -> Loaded:
    """Read the weights, start the engine and warm every model up.

    Raises:
        BundleError: there is no bundle, or it cannot be used.
        SettingsError: the device asked for is not there, or there is nothing to sign with as asked.
        OutOfMemory: the models do not fit on the device.
    """
    let_waiting_threads_sleep()
    sign = signer(settings)
    from inpaint_server.models import bundle

    opened = bundle.open_bundle(bundle.find(settings.bundle, settings.model_dir))
    bundle.read_ahead(opened)
    from inpaint_server.models import backend, device, memory  # torch takes seconds to import

    models = backend.TorchBackend(
        opened,
        device.choose(settings.device, settings.dtype),
        photo_cache_bytes=int(settings.photo_cache_mb * 1e6),
        prompt_cache_bytes=int(settings.prompt_cache_mb * 1e6),
    )
    memory.trim_heap()
    log.info("weights_loaded", bundle=models.card.bundle)
    engine = Engine(
        models,
        queue=settings.queue,
        max_batch=settings.max_batch,
        background_cache_bytes=int(settings.background_cache_mb * 1e6),
        mask_cache_bytes=int(settings.mask_cache_mb * 1e6),
        on_idle=memory.trim_heap,
    )
    limits = Limits(
        max_body_bytes=settings.max_body_bytes,
        max_pixels=int(settings.max_megapixels * 1e6),
        max_canvas_pixels=int(settings.max_canvas_megapixels * 1e6),
    )
    _warm_up(engine, opened.defaults, settings.start_timeout_s)
    return Loaded(engine=engine, reader=Reader(limits, opened.defaults), card=models.card, sign=sign)


def _warm_up(engine: Engine[Any], defaults: BundleDefaults, timeout_s: float) -> None:
    """One advert and one mask of a grey photo: kernels are chosen and memory is taken before the first caller waits."""
    size = defaults.size
    grey = Pixels(frozen_array(np.full((size.height, size.width, 3), 128, np.uint8)))
    white = ProductMask(frozen_array(np.full((size.height, size.width), 255, np.uint8)))
    step = Sampling(steps=1, guidance_scale=defaults.guidance_scale, scheduler="dpmpp_2m_karras")
    advert = AdvertRequest(
        task="advert",
        photo=grey,
        mask=white,
        points=(),
        box=None,
        background_prompt="",
        negative_prompt="",
        layers=(InpaintLayer(region="around", prompt="", negative_prompt=""),),
        canvas=Size(height=size.height, width=size.width),
        model_size=Size(height=size.height, width=size.width),
        placement="centre",
        seeds=(0,),
        background_sampling=step,
        pass_sampling=step,
        feather=0,
        shadow=0.0,
        reflection=0.0,
        light_match=0.0,
        candidates=1,
        output_format="png",
        return_layers=False,
    )
    engine.submit(advert, deadline_s=timeout_s).answer.result()
    mask = replace(advert, task="mask", mask=None)
    with contextlib.suppress(InvalidRequest):  # a grey photo holds no product
        engine.submit(mask, deadline_s=timeout_s).answer.result()
