"""Requests that a stranger might send: good ones with something wrong in the bytes, the fields or the headers."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

from testing.running import Reply
from testing.traffic import ATTRIBUTES, Order, mixed

DOCUMENTED = {200, 400, 404, 405, 406, 413, 415, 503, 504, 507}
"""Every status a caller may cause; 500 is not among them."""

WORDS = (
    "application/json",
    "image/png",
    "image/*",
    "*/*",
    ";",
    ",",
    "q=0.5",
    "q=nan",
    "q=1e999",
    "boundary=",
    "{}",
    "[",
)
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 1e308, 2**32, 2**63, 2**70, 0.1, -0.0, "", "a", "\x00", "\ud800", "../../etc/passwd"),
    *(
        [],
        [[]],
        [1, 2, 3],
        {},
        {"region": "lower"},
        "data:image/png;base64,",
        "file:///etc/passwd",
        "random",
        [0.2, 0.1],
    ),
)


def hostile(draw: random.Random) -> Order:
    """A request with one to three things wrong with it; what it must be answered with is not known."""
    order = mixed(draw)
    for _ in range(draw.randint(1, 3)):
        order = draw.choice(WAYS)(order, draw)
    return dataclasses.replace(order, status=0, seeds=())


def fault(reply: Reply) -> str:
    """What is wrong with an answer to such a request, or nothing."""
    if reply.status not in DOCUMENTED:
        return f"{reply.status} {reply.body[:300]!r}"
    if reply.status == 200:
        return ""
    error = reply.json["error"]
    return "" if error["code"] and error["message"].endswith(".") and error["request_id"] else f"{error}"


def _bytes(order: Order, draw: random.Random) -> Order:
    """Some bytes changed, lost, doubled or put in."""
    body = bytearray(order.body)
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(len(body) + 1)
        until = min(len(body), at + draw.choice((1, 2, 16, 300)))
        body[at:until] = draw.choice((b"", draw.randbytes(until - at), body[at:until] * 2, draw.randbytes(4), b"\xff"))
    return dataclasses.replace(order, body=bytes(body))


def _cut(order: Order, draw: random.Random) -> Order:
    """The body cut short."""
    return dataclasses.replace(order, body=order.body[: draw.randrange(len(order.body) + 1)])


def _field(order: Order, draw: random.Random) -> Order:
    """A field with another value, or one that does not exist."""
    if not order.body.startswith(b'{"') or b"\n" in order.body:
        return order
    try:
        fields = json.loads(order.body)
    except ValueError:
        return order
    name = draw.choice([*fields, "placement", "layers", "points", "box", "mask", "guidance_scale", "__proto__"])
    return dataclasses.replace(order, body=json.dumps({**fields, name: draw.choice(VALUES)}).encode())


def _header(order: Order, draw: random.Random) -> Order:
    """A header with a value of pieces of others, of noise, or with nothing."""
    name = draw.choice(("Content-Type", "Accept", ATTRIBUTES, "X-Amzn-Trace-Id", "X-Amzn-SageMaker-Inference-Id"))
    noise = "".join(chr(draw.choice((9, *range(32, 127), *range(160, 256)))) for _ in range(draw.randint(0, 40)))
    value = draw.choice((noise, "".join(draw.choices(WORDS, k=3)), json.dumps({"seed": draw.choice(VALUES)})))
    return dataclasses.replace(order, headers={**order.headers, name: value.strip()})


WAYS: tuple[Callable[[Order, random.Random], Order], ...] = (_bytes, _cut, _field, _field, _header)
