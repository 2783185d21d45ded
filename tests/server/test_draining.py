"""On SIGTERM a server without a front door ends within INPAINT_DRAIN_S, whatever its callers do."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testing.plain_server import wait_until
from testing.running import DIRECT_PLAIN_ENGINE, Gate, Server
from testing.traffic import advert

DRAIN_S = 8
MAX_BATCH = 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    environment = {
        "GATES": str(tmp_path),
        "INPAINT_DRAIN_S": str(DRAIN_S),
        "INPAINT_MAX_BATCH": str(MAX_BATCH),
        "INPAINT_DEADLINE_S": "100",
    }
    with Server(command=DIRECT_PLAIN_ENGINE, environment=environment) as running:
        wait_until(lambda: running.ping() == 200)
        yield running


def drain(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.ping() != 200)


def connect(server: Server, head: str, body: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(f"POST /invocations HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
    return connection


def answer(connection: socket.socket) -> tuple[int, Any]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize("sent", [b"", b"{}"])
def test_unread_body(server: Server, sent: bytes):
    with connect(server, "Expect: 100-continue\r\nContent-Length: 10") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the body is being read
        connection.sendall(sent)
        drain(server)
        status, body = answer(connection)
        assert (status, body["error"]["code"]) == (503, "draining")
        assert server.wait(DRAIN_S) == 0


def test_lines_not_begun(server: Server, tmp_path: Path):
    gate = Gate(tmp_path / "pass")
    line = json.dumps({"task": "background", "background_prompt": "a lake", "steps": 1}).encode()
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(server.invoke, b"\n".join([line] * 6), "application/jsonlines")
        gate.wait_for_arrival()
        drain(server)
        gate.open()
        lines = [json.loads(line) for line in caller.result().body.splitlines()]
    assert ["images" in line for line in lines] == [True] * MAX_BATCH + [False] * 4
    assert {line["error"]["code"] for line in lines[MAX_BATCH:]} == {"draining"}
    assert server.wait(DRAIN_S) == 0


@pytest.mark.parametrize("stage", ["pass", "encode"])
def test_work_that_does_not_end(server: Server, tmp_path: Path, stage: str):
    gate = Gate(tmp_path / stage)
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(server.send, advert(1))
        gate.wait_for_arrival()
        drain(server)
        assert (caller.result().status, caller.result().json["error"]["code"]) == (503, "draining")
        assert server.wait(DRAIN_S) == 0


def request_large_answer(server: Server) -> socket.socket:
    """An answer of 12 MB, far more than the kernel takes for a caller that does not read."""
    fields = {"image": [[[9, 9, 9]] * 64] * 64, "background_prompt": "", "foreground_prompt": "", "steps": 1}
    body = json.dumps({**fields, "width": 512, "height": 512}).encode()
    connection = connect(server, f"Content-Type: application/json\r\nContent-Length: {len(body)}", body)
    assert server.wait_for("request")["bytes_out"] > 8_000_000
    return connection


def test_caller_that_never_reads(server: Server):
    with request_large_answer(server):
        drain(server)
        assert server.wait(DRAIN_S) == 0


def test_caller_that_reads_late(server: Server):
    with request_large_answer(server) as connection:
        drain(server)
        status, pictures = answer(connection)
        assert (status, len(pictures)) == (200, 4)
        assert server.wait(DRAIN_S) == 0


def test_idle_connection(server: Server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/ping")
    assert connection.getresponse().read()
    assert server.stop(seconds=DRAIN_S) == 0
    connection.close()
