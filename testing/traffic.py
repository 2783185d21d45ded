"""Requests of every kind, each with the answer it must get: what the load, the soak and the faults are made of."""

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
class Order:
    """One request.

    Attributes:
        kind: What it is an example of.
        body: Sent as it is.
        headers: Content-Type and what else it needs.
        status: What it must be answered with (beside 503 and 504 where the server is too busy).
        seeds: The seeds its answer must carry, in order: nobody else's answer has them.
    """

    kind: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": JSON})
    status: int = 200
    seeds: tuple[int, ...] = ()

    def fault(self, reply: Reply) -> str:
        """What is wrong with the reply, or nothing."""
        if reply.status in {503, 504}:
            code = reply.json["error"]["code"]
            documented = {503: {"overloaded", "draining"}, 504: {"deadline_exceeded"}}
            return "" if code in documented[reply.status] else f"{reply.status} {code}"
        if reply.status != self.status:
            return f"{self.kind}: {reply.status} instead of {self.status}: {reply.body[:200]!r}"
        if self.seeds and told_seeds(reply) != self.seeds:
            return f"{self.kind}: seeds {told_seeds(reply)} instead of {self.seeds}"
        return ""


def told_seeds(reply: Reply) -> tuple[int, ...]:
    """The seeds an answer carries, whatever its form."""
    if reply.headers["content-type"].startswith("image/"):
        return (json.loads(reply.headers[ATTRIBUTES.lower()])["seed"],)
    answers = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    return tuple(image["seed"] for answer in answers for image in answer["images"])


def photo(shade: int = 120, width: int = 60, height: int = 90, *, cut_out: bool = True) -> bytes:
    """A PNG of a light ellipse on a ground of some shade; its alpha channel is the mask if it is cut out."""
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


def advert(seed: int, **fields: object) -> Order:
    """A small advert of a photo that is cut out already."""
    image = base64.b64encode(photo(seed % 100)).decode()
    return Order(kind="advert", body=as_json({**SMALL, "image": image, "seed": seed, **fields}), seeds=(seed,))


def picture(seed: int) -> Order:
    """A bare photo in, a bare picture out."""
    headers = {"Content-Type": "image/png", "Accept": "image/webp", ATTRIBUTES: json.dumps({**SMALL, "seed": seed})}
    return Order(kind="picture", body=photo(seed % 100), headers=headers, seeds=(seed,))


def form(seed: int) -> Order:
    """A multipart form."""
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in {**SMALL, "seed": seed}.items()]
    parts.append(b'name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + photo(seed % 100))
    body = b"".join(b"--XX\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--XX--\r\n"
    return Order(kind="form", body=body, headers={"Content-Type": "multipart/form-data; boundary=XX"}, seeds=(seed,))


def lines(seed: int) -> Order:
    """Three adverts as JSON Lines."""
    seeds = tuple((seed + i) % 2**32 for i in range(3))
    headers = {"Content-Type": "application/jsonlines", "Accept": "application/jsonlines"}
    return Order(kind="lines", body=b"\n".join(advert(one).body for one in seeds), headers=headers, seeds=seeds)


def background(seed: int) -> Order:
    """A scene without a product."""
    fields: dict[str, object] = {
        "task": "background",
        "background_prompt": "a lake",
        "width": 64,
        "height": 64,
        "steps": 2,
        "seed": seed,
    }
    return Order(kind="background", body=as_json(fields), seeds=(seed,))


def mask(seed: int) -> Order:
    """A product to be found."""
    image = base64.b64encode(photo(seed % 100, 120, 160, cut_out=False)).decode()
    return Order(kind="mask", body=as_json({"task": "mask", "image": image}))


def array(seed: int) -> Order:
    """The replaced sample's own segmentation call."""
    out = io.BytesIO()
    scene = np.full((80, 80, 3), seed % 100, np.uint8)
    scene[20:60, 20:60] = 230
    np.save(out, scene)
    return Order(kind="array", body=out.getvalue(), headers={"Content-Type": "application/x-npy"})


def wrong(seed: int) -> Order:
    """A request that must be refused."""
    return Order(kind="wrong", body=as_json({**SMALL, "image": "AAAA", "seed": seed}), status=400)


def cut_short(seed: int) -> Order:
    """A photo that ends in the middle."""
    headers = {"Content-Type": "image/png", ATTRIBUTES: json.dumps({**SMALL, "seed": seed})}
    return Order(kind="cut short", body=photo()[:-40], headers=headers, status=400)


KINDS: tuple[Callable[[int], Order], ...] = (
    advert, advert, advert, picture, form, lines, background, mask, array, wrong, cut_short,
)  # fmt: skip


def mixed(draw: random.Random) -> Order:
    """One request of any kind, with a seed of its own."""
    return draw.choice(KINDS)(draw.randrange(2**32))
