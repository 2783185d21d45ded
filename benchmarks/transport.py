"""What the front door and the way through it add to a request of about a second, large photo in, large picture out.

Each answer carries how long decoding, inference and encoding took together. What the client waited beyond
that is transport: reading the body, the front door's Java and its handler, the socket, and the way back.
"""

from __future__ import annotations

import io
import json
import statistics

import numpy as np
from PIL import Image

from benchmarks import jobs
from benchmarks.clients import client_of, send
from benchmarks.figures import Figure, Part
from benchmarks.jobs import HttpRequest
from benchmarks.servers import ours

_PHOTO_BYTES = 1_500_000
_FIELDS = {"width": 1360, "height": 1360, "steps": 3, "placement": "centre"}
_REQUESTS_A_RUN = 5
_WARM_UP = 40
"""Requests whose masks are known from the first: Java compiles what it runs often."""


def measure(runs: int, bundle: str) -> Part:
    """The same requests through the front door and straight to the engine, in turn."""
    photo = large_photo()
    beyond: dict[str, list[float]] = {"front door": [], "direct": []}
    shares: list[float] = []
    replies: list[int] = []
    totals: list[float] = []
    with (
        ours(bundle=bundle) as behind,
        ours("--direct", bundle=bundle) as direct,
        client_of(behind.url) as through,
        client_of(direct.url) as straight,
    ):
        clients = {"front door": through, "direct": straight}
        for client in clients.values():
            send(client, _request(photo))
            for _ in range(_WARM_UP):
                send(client, _request(photo, task="mask"))
        for _ in range(runs * _REQUESTS_A_RUN):
            for name, client in clients.items():
                sent = send(client, _request(photo))
                attributes = json.loads(sent.reply.headers["x-amzn-sagemaker-custom-attributes"])
                inside_ms = attributes["timings_ms"]["total"]
                beyond[name].append(1000 * sent.seconds - inside_ms)
                if name == "front door":
                    shares.append(100 * beyond[name][-1] / inside_ms)
                    totals.append(inside_ms)
                    replies.append(len(sent.reply.content))
    middle = {name: statistics.median(values) for name, values in beyond.items()}
    sizes = (
        f"{len(photo) / 1e6:.2f} MB in, {statistics.median(replies) / 1e6:.2f} MB out, "
        f"{statistics.median(totals) / 1000:.2f} s inside, {len(totals)} requests"
    )
    return Part(
        figures=[
            Figure(name="front door and transport", value=middle["front door"], unit="ms", at_most=30, detail=sizes),
            Figure(
                name="front door and transport, share of the request",
                value=statistics.median(shares),
                unit="%",
                at_most=3,
                detail=sizes,
            ),
            Figure(
                name="transport without the front door (`--direct`)", value=middle["direct"], unit="ms", detail=sizes
            ),
        ],
        series={"milliseconds beyond the engine's own": dict(beyond)},
    )


def _request(photo: bytes, **more: object) -> HttpRequest:
    """The photo itself as the body, the picture itself as the answer."""
    fields = {name: value for name, value in jobs.fields(**_FIELDS, **more).items() if name != "image"}
    headers = {
        "content-type": "image/jpeg",
        "accept": "image/png",
        "x-amzn-sagemaker-custom-attributes": json.dumps(fields),
    }
    return HttpRequest(body=photo, headers=headers)


def large_photo() -> bytes:
    """A demo photo enlarged, with as much of a camera's noise as makes a JPEG of 1.5 MB."""
    with Image.open(jobs.PHOTOS[0]) as opened:
        small = opened.convert("RGB")
    large = np.asarray(small.resize((small.width * 2, small.height * 2), Image.Resampling.LANCZOS), np.float32)
    noise = np.random.default_rng(0).normal(0, 1, large.shape)
    for grain in range(1, 40):
        file = io.BytesIO()
        grainy = Image.fromarray(np.clip(large + noise * grain / 2, 0, 255).astype(np.uint8))
        grainy.save(file, "JPEG", quality=95)
        if file.tell() >= _PHOTO_BYTES:
            return file.getvalue()
    raise SystemExit("No grain makes the photo large enough.")
