"""Malformed requests: valid ones with errors put into their bytes, fields or headers."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

from testing.running import Reply
from testing.traffic import ATTRIBUTES, SampleRequest, random_request

DOCUMENTED_STATUSES = {200, 400, 404, 405, 406, 413, 415, 503, 504, 507}
"""Every status a caller may cause; 500 is not among them."""

HEADER_FRAGMENTS = (
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


def malformed_request(rng: random.Random) -> SampleRequest:
    """A request with one to three errors, and without an expected answer."""
    sample = random_request(rng)
    for _ in range(rng.randint(1, 3)):
        sample = rng.choice(MUTATIONS)(sample, rng)
    return dataclasses.replace(sample, status=0, seeds=())


def problem(reply: Reply) -> str:
    """What is wrong with the answer to a malformed request, or an empty string."""
    if reply.status not in DOCUMENTED_STATUSES:
        return f"{reply.status} {reply.body[:300]!r}"
    if reply.status == 200:
        return ""
    error = reply.json["error"]
    return "" if error["code"] and error["message"].endswith(".") and error["request_id"] else f"{error}"


def _mutate_bytes(sample: SampleRequest, rng: random.Random) -> SampleRequest:
    """Some bytes changed, lost, doubled or put in."""
    body = bytearray(sample.body)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(body) + 1)
        until = min(len(body), at + rng.choice((1, 2, 16, 300)))
        body[at:until] = rng.choice((b"", rng.randbytes(until - at), body[at:until] * 2, rng.randbytes(4), b"\xff"))
    return dataclasses.replace(sample, body=bytes(body))


def _truncate(sample: SampleRequest, rng: random.Random) -> SampleRequest:
    """The body cut short."""
    return dataclasses.replace(sample, body=sample.body[: rng.randrange(len(sample.body) + 1)])


def _mutate_field(sample: SampleRequest, rng: random.Random) -> SampleRequest:
    """A field with another value, or one that does not exist."""
    if not sample.body.startswith(b'{"') or b"\n" in sample.body:
        return sample
    try:
        fields = json.loads(sample.body)
    except ValueError:
        return sample
    name = rng.choice([*fields, "placement", "layers", "points", "box", "mask", "guidance_scale", "__proto__"])
    return dataclasses.replace(sample, body=json.dumps({**fields, name: rng.choice(VALUES)}).encode())


def _mutate_header(sample: SampleRequest, rng: random.Random) -> SampleRequest:
    """A header with a value of pieces of others, of noise, or with nothing."""
    name = rng.choice(("Content-Type", "Accept", ATTRIBUTES, "X-Amzn-Trace-Id", "X-Amzn-SageMaker-Inference-Id"))
    noise = "".join(chr(rng.choice((9, *range(32, 127), *range(160, 256)))) for _ in range(rng.randint(0, 40)))
    value = rng.choice((noise, "".join(rng.choices(HEADER_FRAGMENTS, k=3)), json.dumps({"seed": rng.choice(VALUES)})))
    return dataclasses.replace(sample, headers={**sample.headers, name: value.strip()})


MUTATIONS: tuple[Callable[[SampleRequest, random.Random], SampleRequest], ...] = (
    _mutate_bytes,
    _truncate,
    _mutate_field,
    _mutate_field,
    _mutate_header,
)
