"""A caller that has gone away costs no further step."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from testing.gated_servers import plain_server
from testing.plain_app import WAIT_S, Plain, on_a_port, plain, until
from testing.plain_backend import PlainPass
from testing.running import Gate
from testing.traffic import Order, advert, lines


def send(port: int, order: Order, *, length: int | None = None) -> socket.socket:
    """Send a request (or its beginning, if it says it is longer) and keep the connection."""
    kind = order.headers["Content-Type"]
    size = len(order.body) if length is None else length
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(head.encode() + order.body)
    return connection


def gone(app: Plain, task: str) -> bool:
    """Whether a caller has been counted as gone, and nothing is at work for it."""
    counted = app.figure("inpaint_requests_total", task=task, code="client_gone")
    return counted == 1 and app.figure("inpaint_in_flight") == 0


@pytest.mark.parametrize(
    ("order", "task"), [(advert(7, steps=250), "advert"), (lines(7), "unknown")], ids=["one", "lines"]
)
def test_a_caller_that_goes_away_stops_costing_steps(order: Order, task: str):
    with plain(max_batch=1) as app, on_a_port(app.app) as port:
        begun, noticed = threading.Event(), threading.Event()

        def hold(_: Sequence[PlainPass]) -> None:
            begun.set()
            noticed.wait(WAIT_S)

        app.painter.before_step = hold
        connection = send(port, order)
        begun.wait(WAIT_S)
        connection.close()
        until(lambda: gone(app, task))
        noticed.set()
        assert app.invoke(advert(1).body).status_code == 200
        assert len(app.painter.batches) == 1 + 3  # the step it was in, and the other's background and two passes


def test_a_caller_that_leaves_the_front_door_stops_costing_steps_too(tmp_path: Path):
    with plain_server(GATES=str(tmp_path), INPAINT_QUEUE="1", INPAINT_MAX_BATCH="1") as server:
        server.wait_for("serving")
        gate = Gate(tmp_path / "pass")
        connection = send(server.port, advert(7, steps=250))
        gate.arrived()
        gate.path.unlink()
        connection.close()
        assert server.wait_for("request", code="client_gone")["task"] == "advert"
        gate.open()
        assert server.invoke(advert(1).body).status == 200
        assert server.stop() == 0
        assert server.pids() == []


def test_a_caller_that_sends_half_a_body_and_goes_leaves_nothing_running():
    with plain() as app, on_a_port(app.app) as port:
        send(port, advert(1), length=10_000_000).close()
        until(lambda: gone(app, "unknown"))
        assert app.invoke(advert(1).body).status_code == 200
