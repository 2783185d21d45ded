"""A catalogue as SageMaker's Batch Transform sends it: a JSON Lines file cut into requests, their answers joined."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from PIL import Image

from testing.running import Server

LINES = 200
BAD = {
    b"{not json": "invalid_request",
    b'{"task": "background", "background_promt": "sand"}': "invalid_request",
    b'{"task": "background", "background_prompt": "sand", "steps": -1}': "invalid_request",
    b'{"task": "mask", "image": "aGVsbG8="}': "invalid_request",
    b'{"task": "background", "background_prompt": "sand", "width": 65536}': "invalid_request",
    b"[]": "invalid_request",
}


def catalogue() -> list[bytes]:
    """200 lines, most of them quick, one in ten bad; each answer is recognised by its seed or its width."""
    return [line(number) for number in range(LINES)]


def line(number: int) -> bytes:
    if number % 10 == 7:
        return list(BAD)[number // 10 % len(BAD)]
    if number % 10 == 3:
        background = {"task": "background", "background_prompt": "sand", "width": 64, "height": 64, "steps": 1}
        return json.dumps({**background, "seed": number}).encode()
    return json.dumps({"task": "mask", "image": picture(number, "RGB"), "mask": picture(number, "L")}).encode()


def picture(number: int, mode: str) -> str:
    file = io.BytesIO()
    Image.new(mode, (32 + number, 32), "white").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def mini_batches(lines: list[bytes], strategy: Literal["SingleRecord", "MultiRecord"], limit: int) -> Iterator[bytes]:
    """How the platform cuts a file with SplitType Line: each line, or as many whole lines as the limit holds."""
    batch = b""
    for line in lines:
        if batch and (strategy == "SingleRecord" or len(batch) + len(line) + 1 > limit):
            yield batch
            batch = b""
        batch += line + b"\n"
    yield batch


def transform(server: Server, bodies: list[bytes], at_once: int) -> list[dict[str, Any]]:
    """What the platform writes to S3: every answer, in the order of the file (AssembleWith Line)."""
    headers = {"Content-Type": "application/jsonlines", "Accept": "application/jsonlines"}

    def send(body: bytes) -> bytes:
        reply = server.request("POST", "/invocations", body, headers)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/jsonlines")
        return reply.body

    with ThreadPoolExecutor(at_once) as pool:
        answers = b"".join(pool.map(send, bodies))
    return [json.loads(line) for line in answers.splitlines() if line.strip()]


def test_execution_parameters_not_found(real_server: Server):
    """The platform requests GET /execution-parameters first; without it the job's own settings apply."""
    assert real_server.request("GET", "/execution-parameters").status == 404


@pytest.mark.parametrize(("strategy", "at_once"), [("SingleRecord", 8), ("MultiRecord", 1)])
def test_lines_answered_in_order(real_server: Server, strategy: Literal["SingleRecord", "MultiRecord"], at_once: int):
    lines = catalogue()
    bodies = list(mini_batches(lines, strategy, limit=30_000))
    assert b"".join(bodies) == b"".join(line + b"\n" for line in lines)
    assert len(bodies) == (LINES if strategy == "SingleRecord" else 3)
    answers = transform(real_server, bodies, at_once)
    assert len(answers) == LINES
    for number, (line, answer) in enumerate(zip(lines, answers, strict=True)):
        if line in BAD:
            assert answer["error"]["code"] == BAD[line], line
        elif number % 10 == 3:
            assert [image["seed"] for image in answer["images"]] == [number]
        else:
            assert answer["width"] == 32 + number
