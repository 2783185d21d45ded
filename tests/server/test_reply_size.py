"""An answer that is larger than the operator allows is refused, with the way to a smaller one."""

from __future__ import annotations

import json

import httpx

from testing.plain_server import PlainServer

BACKGROUND = {"task": "background", "background_prompt": "a lake", "steps": 1, "width": 64, "height": 64}
JSON_LINES = {"content-type": "application/jsonlines"}
ARRAY_BYTES = 128 + 64 * 64 * 3


def answer_of_array(limit: int) -> httpx.Response:
    with PlainServer(max_reply_mb=limit / 1e6) as server:
        return server.invoke(BACKGROUND, accept="application/x-npy")


def test_answer_as_large_as_limit():
    reply = answer_of_array(ARRAY_BYTES)
    assert (reply.status_code, len(reply.content)) == (200, ARRAY_BYTES)


def test_answer_one_byte_too_large():
    reply = answer_of_array(ARRAY_BYTES - 1)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
    assert "INPAINT_MAX_REPLY_MB" in reply.json()["error"]["message"]
    assert "`output_format` webp or jpeg" in reply.json()["error"]["message"]


def test_lines_without_room_are_refused_and_others_answered():
    line = json.dumps(BACKGROUND).encode()
    with PlainServer(max_batch=1) as server:
        one_line = len(server.client.post("/invocations", content=line, headers=JSON_LINES).content)
    with PlainServer(max_batch=1, max_reply_mb=2.5 * one_line / 1e6) as server:
        reply = server.client.post("/invocations", content=b"\n".join([line] * 4), headers=JSON_LINES)
    answers = [json.loads(answer) for answer in reply.text.splitlines()]
    assert ["images" in answer for answer in answers] == [True, True, False, False]
    assert all("together with the lines before it" in answer["error"]["message"] for answer in answers[2:])
