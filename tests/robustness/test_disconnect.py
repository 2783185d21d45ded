"""No further step is spent on a caller that has disconnected."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from testing.plain_backend import PlainPass
from testing.plain_server import TIMEOUT_S, PlainServer, wait_until
from testing.running import Gate, Server
from testing.traffic import SampleRequest, advert, lines


def send(port: int, sample: SampleRequest, *, length: int | None = None) -> socket.socket:
    """Send a request (or its beginning, if `length` exceeds it) and keep the connection."""
    kind = sample.headers["Content-Type"]
    size = len(sample.body) if length is None else length
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(head.encode() + sample.body)
    return connection


def disconnect_counted(server: PlainServer, task: str) -> bool:
    """Whether one disconnect has been counted, and no request is in progress."""
    counted = server.metric("inpaint_requests_total", task=task, code="client_gone")
    return counted == 1 and server.metric("inpaint_in_flight") == 0


@pytest.mark.parametrize(
    ("sample", "task"), [(advert(7, steps=250), "advert"), (lines(7), "unknown")], ids=["one", "lines"]
)
def test_disconnect_ends_steps(sample: SampleRequest, task: str):
    with PlainServer(max_batch=1) as server:
        begun, noticed = threading.Event(), threading.Event()

        def hold(_: Sequence[PlainPass]) -> None:
            begun.set()
            noticed.wait(TIMEOUT_S)

        server.backend.before_step = hold
        connection = send(server.port, sample)
        begun.wait(TIMEOUT_S)
        connection.close()
        wait_until(lambda: disconnect_counted(server, task))
        noticed.set()
        assert server.invoke(advert(1).body).status_code == 200
        assert len(server.backend.batches) == 1 + 3  # one step, then a background and two passes


def test_disconnect_at_front_door_ends_steps(tmp_path: Path):
    environment = {"GATES": str(tmp_path), "INPAINT_QUEUE": "1", "INPAINT_MAX_BATCH": "1"}
    with Server(environment=environment) as server:
        server.wait_for("serving")
        gate = Gate(tmp_path / "pass")
        connection = send(server.port, advert(7, steps=250))
        gate.wait_for_arrival()
        connection.close()
        assert server.wait_for("request", code="client_gone")["task"] == "advert"
        gate.open()
        assert server.send(advert(1)).status == 200
        assert server.stop() == 0
        assert server.pids() == []


def test_disconnect_within_body_ends_request():
    with PlainServer() as server:
        send(server.port, advert(1), length=10_000_000).close()
        wait_until(lambda: disconnect_counted(server, "unknown"))
        assert server.invoke(advert(1).body).status_code == 200
