"""Hundreds of mixed requests to one server: does its memory come back to where it was?

Resident memory is read at rest: a few requests have been answered, nothing is under way, and what was freed has been
given back. One reading still depends on the sizes that were just asked for, so fifths of the run are compared by their
medians.
"""

from __future__ import annotations

import base64
import io
import json
import random
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
from PIL import Image
from tqdm import tqdm

from benchmarks import jobs
from benchmarks.clients import client_of
from benchmarks.figures import Figure, Part
from benchmarks.servers import Server, ours

WARM_UP = 400
REQUESTS = 500
_CLIENTS = 4
_SAMPLE_EVERY = 20
_SMALL_CACHES = {f"INPAINT_{name}_CACHE_MB": "2" for name in ("PHOTO", "MASK", "PROMPT", "BACKGROUND")}
"""Full before the warm-up is over: what a cache may hold by its setting is no leak."""


def measure(runs: int, bundle: str) -> Part:  # noqa: ARG001 - a soak is one run, however many the others are
    """Mixed requests from four clients; memory after the warm-up against memory at the end."""
    with ours("--direct", bundle=bundle, **_SMALL_CACHES) as server, client_of(server.url) as client:
        bodies = _mixed()
        _post(client, bodies, WARM_UP)
        samples = [_at_rest(server)]
        statuses: dict[int, int] = {}
        for _ in tqdm(range(REQUESTS // _SAMPLE_EVERY), desc="soak"):
            for status in _post(client, bodies, _SAMPLE_EVERY):
                statuses[status] = statuses.get(status, 0) + 1
            samples.append(_at_rest(server))
    fifth = len(samples) // 5
    at_first, at_last = statistics.median(samples[:fifth]), statistics.median(samples[-fifth:])
    answered = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return Part(
        figures=[
            Figure(
                name=f"growth of resident memory over {REQUESTS} mixed requests",
                value=100 * (at_last / at_first - 1),
                unit="%",
                at_most=2.0,
                detail=f"{at_first:.0f} to {at_last:.0f} MB, first to last fifth, after {WARM_UP} more; {answered}",
            )
        ],
        series={"resident memory, MB": {"server": samples}},
    )


def _at_rest(server: Server) -> float:
    """Megabytes, the least of two seconds' readings: freed memory is given back a second after the last answer."""
    readings: list[float] = []
    for _ in range(20):
        Event().wait(0.1)
        readings.append(server.resident_bytes() / 1e6)
    return min(readings)


def _post(client: httpx.Client, bodies: Iterator[dict[str, object]], number: int) -> list[int]:
    """Some requests side by side; their status codes."""

    def one(fields: dict[str, object]) -> int:
        accept = str(fields.pop("accept"))
        body = json.dumps(fields).encode()
        headers = {"content-type": "application/json", "accept": accept}
        return client.post("/invocations", content=body, headers=headers).status_code

    with ThreadPoolExecutor(max_workers=_CLIENTS) as pool:
        return list(pool.map(one, [next(bodies) for _ in range(number)]))


def _mixed() -> Iterator[dict[str, object]]:
    """Every task, many sizes and forms, now and then a request that is refused; always the same sequence."""
    draw = random.Random(0)  # noqa: S311
    while True:
        fields = jobs.fields(
            task=draw.choice(["advert", "advert", "mask", "background", "inpaint"]),
            width=8 * draw.randint(8, 32),
            height=8 * draw.randint(8, 32),
            steps=draw.randint(1, 3),
            num_images=draw.randint(1, 2),
            output_format=draw.choice(["png", "jpeg", "webp"]),
            return_layers=draw.random() < 0.3,
            scheduler=draw.choice(["dpmpp_2m_karras", "euler_ancestral", "ddim"]),
        )
        if draw.random() < 0.5:
            fields["image"] = _small_photo(draw)
        if draw.random() < 0.05:
            fields["width"] = 63
        yield {**fields, "accept": draw.choice(["application/json", "image/png", "application/zip"])}


def _small_photo(draw: random.Random) -> str:
    """A photo that no cache knows."""
    with Image.open(draw.choice(jobs.PHOTOS)) as opened:
        small = opened.resize((draw.randint(100, 300), draw.randint(100, 300)))
    file = io.BytesIO()
    small.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
