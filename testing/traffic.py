"""Sample requests of every kind, each with the answer it must get."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from testing.running import Reply

JSON = "application/json"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SMALL: dict[str, object] = {
    "background_prompt": "beach",
    "foreground_prompt": "sand",
    "width": 64,
    "height": 64,
    "steps": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """One request.

    Attributes:
        kind: What it is an example of.
        body: Sent as it is.
        headers: Content-Type and what else it needs.
        status: The status of its answer (503 and 504 are also allowed: the server may be too busy).
        seeds: The seeds in its answer, in order; no other request's answer has them.
    """

    kind: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": JSON})
    status: int = 200
    seeds: tuple[int, ...] = ()

    def problem(self, reply: Reply) -> str:
        """What is wrong with its answer, or an empty string."""
        if reply.status in {503, 504}:
            code = reply.json["error"]["code"]
            documented = {503: {"overloaded", "draining"}, 504: {"deadline_exceeded"}}
            return "" if code in documented[reply.status] else f"{reply.status} {code}"
        if reply.status != self.status:
            return f"{self.kind}: {reply.status} instead of {self.status}: {reply.body[:200]!r}"
        if self.seeds and response_seeds(reply) != self.seeds:
            return f"{self.kind}: seeds {response_seeds(reply)} instead of {self.seeds}"
        return ""


def response_seeds(reply: Reply) -> tuple[int, ...]:
    """The seeds in an answer of any media type."""
    if reply.headers["content-type"].startswith("image/"):
        return (json.loads(reply.headers[ATTRIBUTES.lower()])["seed"],)
    answers = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    return tuple(image["seed"] for answer in answers for image in answer["images"])


def photo(shade: int = 120, width: int = 60, height: int = 90, *, cut_out: bool = True) -> bytes:
    """A PNG of a light ellipse on a grey background; if it is cut out, its alpha channel is the mask."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((y - height / 2) / height, (x - width / 2) / width) < 0.3
    rgba = np.full((height, width, 4), shade, np.uint8)
    rgba[inside] = 235
    rgba[..., 3] = inside * 255 if cut_out else 255
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    return out.getvalue()


def as_json(fields: dict[str, object]) -> bytes:
    """A request object."""
    return json.dumps(fields).encode()


def advert(seed: int, **fields: object) -> SampleRequest:
    """A small advert of a photo that is cut out already."""
    image = base64.b64encode(photo(seed % 100)).decode()
    return SampleRequest(kind="advert", body=as_json({**SMALL, "image": image, "seed": seed, **fields}), seeds=(seed,))


def picture(seed: int) -> SampleRequest:
    """A bare photo in, a bare picture out."""
    headers = {"Content-Type": "image/png", "Accept": "image/webp", ATTRIBUTES: json.dumps({**SMALL, "seed": seed})}
    return SampleRequest(kind="picture", body=photo(seed % 100), headers=headers, seeds=(seed,))


def form(seed: int) -> SampleRequest:
    """A multipart form."""
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in {**SMALL, "seed": seed}.items()]
    parts.append(b'name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + photo(seed % 100))
    body = b"".join(b"--XX\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--XX--\r\n"
    return SampleRequest(
        kind="form", body=body, headers={"Content-Type": "multipart/form-data; boundary=XX"}, seeds=(seed,)
    )


def lines(seed: int) -> SampleRequest:
    """Three adverts as JSON Lines."""
    seeds = tuple((seed + i) % 2**32 for i in range(3))
    headers = {"Content-Type": "application/jsonlines", "Accept": "application/jsonlines"}
    return SampleRequest(kind="lines", body=b"\n".join(advert(one).body for one in seeds), headers=headers, seeds=seeds)


def background(seed: int) -> SampleRequest:
    """A background without a product."""
    fields: dict[str, object] = {
        "task": "background",
        "background_prompt": "a lake",
        "width": 64,
        "height": 64,
        "steps": 2,
        "seed": seed,
    }
    return SampleRequest(kind="background", body=as_json(fields), seeds=(seed,))


def mask(seed: int) -> SampleRequest:
    """A photo whose product is to be segmented."""
    image = base64.b64encode(photo(seed % 100, 120, 160, cut_out=False)).decode()
    return SampleRequest(kind="mask", body=as_json({"task": "mask", "image": image}))


def array(seed: int) -> SampleRequest:
    """A photo as a NumPy array; the answer is its mask."""
    out = io.BytesIO()
    pixels = np.full((80, 80, 3), seed % 100, np.uint8)
    pixels[20:60, 20:60] = 230
    np.save(out, pixels)
    return SampleRequest(kind="array", body=out.getvalue(), headers={"Content-Type": "application/x-npy"})


def invalid(seed: int) -> SampleRequest:
    """A request that must be refused."""
    return SampleRequest(kind="invalid", body=as_json({**SMALL, "image": "AAAA", "seed": seed}), status=400)


def truncated(seed: int) -> SampleRequest:
    """A photo whose file is truncated."""
    headers = {"Content-Type": "image/png", ATTRIBUTES: json.dumps({**SMALL, "seed": seed})}
    return SampleRequest(kind="truncated", body=photo()[:-40], headers=headers, status=400)


KINDS: tuple[Callable[[int], SampleRequest], ...] = (
    advert, advert, advert, picture, form, lines, background, mask, array, invalid, truncated,
)  # fmt: skip


def random_request(rng: random.Random) -> SampleRequest:
    """One request of any kind, with a seed of its own."""
    return rng.choice(KINDS)(rng.randrange(2**32))
