"""The deadline counts from a request's arrival: body, decoding and encoding included."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from typing import Any

from PIL import Image

from inpaint_server.deploy import requests
from inpaint_server.domain.request import OutputFormat, Task
from inpaint_server.settings import Settings
from inpaint_server.wire.bodies import CUSTOM_ATTRIBUTES
from testing.plain_server import PlainServer

BACKGROUND = {"task": "background", "background_prompt": "a lake", "steps": 1}


def assert_late(status: int, body: Any, reason: str) -> None:
    assert (status, body["error"]["code"]) == (504, "deadline_exceeded")
    assert reason in body["error"]["message"]


def test_time_in_front_door():
    with PlainServer() as server:
        arrived = round((time.time() - Settings().deadline_s - 1) * 1000)
        late = server.invoke(BACKGROUND, x_inpaint_arrived=str(arrived))
        assert_late(late.status_code, late.json(), "")
        assert server.invoke(BACKGROUND, x_inpaint_arrived=str(arrived + 10_000_000)).status_code == 200


def test_body_that_stops():
    with PlainServer(deadline_s=0.3) as server, socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert_late(response.status, json.loads(response.read()), "body")


def test_decoding():
    file = io.BytesIO()
    Image.new("RGB", (8000, 7900)).save(file, "PNG")
    with PlainServer(deadline_s=0.2) as server:
        late = server.invoke(file.getvalue(), content_type="image/png", **{CUSTOM_ATTRIBUTES: '{"task": "mask"}'})
        assert_late(late.status_code, late.json(), "fewer images")
        assert server.backend.calls == []
        assert server.invoke(BACKGROUND).status_code == 200


def test_encoding():
    released = threading.Event()

    def sign(data: bytes, form: OutputFormat, task: Task) -> bytes:
        del form, task
        released.wait(30)
        return data

    with PlainServer(deadline_s=0.3, sign=sign) as server:
        late = server.invoke(BACKGROUND)
        released.set()
        assert_late(late.status_code, late.json(), "fewer images")
        assert server.invoke(BACKGROUND).status_code == 200


def test_lines_that_are_late():
    with PlainServer(deadline_s=0.5, max_batch=1) as server:
        first = server.invoke(BACKGROUND).json()
        server.backend.before_step = lambda passes: passes[0].call.prompt == "slow" and server.backend.gate.clear()
        lines = [BACKGROUND, {**BACKGROUND, "background_prompt": "slow", "steps": 9}, BACKGROUND]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        answers = [
            json.loads(line) for line in server.invoke(body, content_type="application/jsonlines").content.splitlines()
        ]
        server.backend.gate.set()
    assert answers[0]["width"] == first["width"]
    assert [answer["error"]["code"] for answer in answers[1:]] == ["deadline_exceeded"] * 2


def test_server_answers_before_platform():
    assert Settings().deadline_s < requests.REAL_TIME_TIMEOUT_S
    patient = float(requests.patient_environment()["INPAINT_DEADLINE_S"])
    assert Settings().deadline_s < patient < requests.INVOCATION_TIMEOUT_S
