"""The engine in this process, through the doors that the server itself uses."""

from __future__ import annotations

import json
from concurrent.futures import wait
from typing import Any

from inpaint_server.domain.results import Answer
from inpaint_server.server.loading import Loaded, load
from inpaint_server.settings import read

NO_CACHES = dict.fromkeys(("photo_cache_mb", "mask_cache_mb", "prompt_cache_mb", "background_cache_mb"), 0)
"""Where one request is measured, nothing may be known from the one before."""

_NEVER_S = float("inf")


def engine_here(bundle: str, **settings: Any) -> Loaded:
    """The models of a bundle on this machine's device, warm."""
    return load(read(bundle=bundle, **settings))


def answers_to(loaded: Loaded, *requests: dict[str, object]) -> list[Answer]:
    """Requests decoded and handed to the engine, all at once; their answers."""
    jobs = [
        loaded.engine.submit(
            loaded.reader.read(json.dumps(fields).encode(), {"content-type": "application/json"}).request,
            deadline_s=_NEVER_S,
        )
        for fields in requests
    ]
    wait([job.answer for job in jobs])
    return [job.answer.result() for job in jobs]
