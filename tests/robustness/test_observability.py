"""What an operator sees: a line of the log for each request, metrics, and the id that joins them to an answer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testing.gated_servers import plain_server
from testing.plain_app import plain, until
from testing.running import Reply, Server
from testing.traffic import ATTRIBUTES, SMALL, Order, advert, as_json, lines, mask, photo, wrong

JAVAS_OWN = re.compile(r"Model server started\.|WARNING: sun\.reflect\..*")


def send(server: Server, order: Order, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("POST", "/invocations", order.body, order.headers | named)


def line_of(server: Server, reply: Reply) -> dict[str, Any]:
    """The request's line in the log."""
    return server.wait_for("request", request_id=reply.headers["x-request-id"])


def figures(port: int) -> Callable[..., float]:
    """Reads the server's metrics now."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def read(name: str, **labels: str) -> float:
        return found.get((name, frozenset(labels.items())), 0.0)

    return read


def test_an_adverts_line_tells_where_its_time_went_and_nothing_it_shows(server: Server):
    reply = send(server, advert(7, num_images=2), X_Amzn_Trace_Id="Root=1-5759e988-bd862e3f")
    line = line_of(server, reply)
    assert (line["status"], line["code"], line["task"], line["seed"], line["images"]) == (200, "ok", "advert", 7, 2)
    assert (line["size"], line["photo"], line["trace"]) == ([64, 64], [60, 90], "Root=1-5759e988-bd862e3f")
    assert set(line["stages_ms"]) == {"decode", "queue", "segment", "background", "passes", "composite", "encode"}
    assert 0 < sum(line["stages_ms"].values()) <= 1.5 * line["ms"]
    assert (line["bytes_in"], line["bytes_out"] > 0) == (len(advert(7, num_images=2).body), True)
    assert reply.json["request_id"] == line["request_id"]
    told = json.dumps(line)
    assert str(SMALL["background_prompt"]) not in told
    assert str(SMALL["foreground_prompt"]) not in told
    assert json.loads(advert(7).body)["image"][:40] not in told


def test_sagemakers_own_id_of_a_request_is_in_its_line(server: Server):
    reply = send(server, mask(1), X_Amzn_SageMaker_Inference_Id="order-66", traceparent="00-4bf92f35-00f067aa-01")
    line = line_of(server, reply)
    assert (line["inference_id"], line["trace"], line["task"]) == ("order-66", "00-4bf92f35-00f067aa-01", "mask")


def test_a_refused_request_is_a_line_too(server: Server):
    line = line_of(server, send(server, wrong(1)))
    assert (line["status"], line["code"], line["field"]) == (400, "invalid_request", "image")


def test_each_line_of_json_lines_is_a_line_of_the_log(server: Server):
    order = lines(40)
    order = Order(kind="lines", body=order.body + b"\n{}", headers=order.headers)
    reply = send(server, order)
    whole = server.wait_for("request", request_id=reply.headers["x-request-id"], lines=4)
    assert whole["code"] == "ok"
    told = [json.loads(line) for line in server.lines if whole["request_id"] in line]
    codes = {line["line"]: line["code"] for line in told if "line" in line}
    assert codes == {1: "ok", 2: "ok", 3: "ok", 4: "invalid_request"}


def test_prompts_are_told_where_the_operator_asks(capsys: pytest.CaptureFixture[str]):
    for asked in (False, True):
        with plain(log_prompts=asked) as app:
            app.invoke(advert(1).body)
        assert ("beach" in capsys.readouterr().out) == asked


@pytest.mark.parametrize("hostile", ['x\r\n{"event": "forged"}', "x\x1b[2J\x07", 'x", "event": "forged', "x\u2028y"])
def test_nothing_of_a_request_reaches_the_log_unescaped(server: Server, hostile: str):
    raw = hostile.encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
    body = photo()
    for name in (
        ATTRIBUTES,
        "X-Amzn-Trace-Id",
        "X-Amzn-SageMaker-Inference-Id",
        "X-Request-Id",
        "User-Agent",
        "Accept",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            value = raw.replace(b"\r\n", b"\r\n ")  # a folded header is still this header
            connection.sendall(
                head + f"{name}: ".encode() + value + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            # Java may refuse the header before the body has been sent.
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(body)
                connection.recv(65_536)
    part = f'--XX\r\nContent-Disposition: form-data; name="image"; filename="{hostile}"\r\n\r\n'.encode()
    form = part + photo() + b"\r\n--XX--\r\n"
    send(server, Order(kind="form", body=form, headers={"Content-Type": "multipart/form-data; boundary=XX"}))
    send(server, Order(kind="prompt", body=as_json({"background_prompt": hostile, hostile: 1})))
    line_of(server, send(server, advert(3)))
    told = list(server.lines)
    assert [line for line in told if not line.startswith("{") and not JAVAS_OWN.fullmatch(line.rstrip("\n"))] == []
    events = [json.loads(line) for line in told if line.startswith("{")]
    assert [event for event in events if event.get("event") == "forged"] == []
    assert not [line for line in told if "\x1b" in line or "\x07" in line]


def test_every_answer_carries_an_id(server: Server):
    ways = [
        ("GET", "/ping"),
        ("GET", "/invocations"),
        ("POST", "/invocations"),
        ("GET", "/models"),
        ("POST", "/predictions/model"),
        ("PUT", "/nothing"),
    ]
    assert [way for way in ways if not server.request(*way).headers.get("x-request-id")] == []
    with plain() as app:
        answers = [app.client.request(method, path) for method, path in ways]
    assert [reply.url.path for reply in answers if not reply.headers.get("x-request-id")] == []


def test_a_requests_line_is_a_cloudwatch_metric(server: Server):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    line = line_of(server, send(server, advert(8)))
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert isinstance(line["_aws"]["Timestamp"], int)
    assert directive["Namespace"] == "adverts"
    assert all(isinstance(line[name], str) for dimensions in directive["Dimensions"] for name in dimensions)
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int | float)
        assert metric["Unit"] in {"Count", "Milliseconds"}
    assert (line["Task"], line["Code"], line["Requests"], line["Pictures"]) == ("advert", "ok", 1, 1)
    assert line["Latency"] == line["ms"]


def test_metrics_count_requests_by_task_and_outcome_on_a_loopback_port(server: Server, metrics_port: int):
    before = figures(metrics_port)
    for order in (advert(50), advert(51, num_images=3), mask(50), wrong(50), lines(60)):
        line_of(server, send(server, order))
    after = figures(metrics_port)

    def added(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert added("inpaint_requests_total", task="advert", code="ok") == 2 + 3
    assert added("inpaint_requests_total", task="mask", code="ok") == 1
    assert added("inpaint_requests_total", task="unknown", code="invalid_request") == 1
    assert added("inpaint_pictures_total") == 1 + 3 + 1 + 3
    for stage in ("decode", "queue", "passes", "encode", "total"):
        assert added("inpaint_stage_seconds_count", stage=stage) >= 6
    assert added("inpaint_cache_misses_total", cache="backgrounds") > 0
    assert after("inpaint_cache_bytes", cache="backgrounds") > 0
    assert (after("inpaint_in_flight"), after("inpaint_waiting")) == (0, 0)
    assert after("process_resident_memory_bytes") > 1e6


def test_restarts_are_counted(server: Server, metrics_port: int):
    assert figures(metrics_port)("inpaint_restarts_total", part="engine") == 0
    [engine] = server.pids("gated_engine --uds")
    os.kill(engine, signal.SIGKILL)
    server.wait_for("state", state="ready")
    after = figures(metrics_port)
    assert after("inpaint_restarts_total", part="engine") == 1
    assert after("inpaint_restarts_total", part="front door") == 0


def test_a_taken_metrics_port_is_one_clear_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with plain_server(INPAINT_METRICS_PORT=str(port)) as server:
            assert "INPAINT_METRICS_PORT" in server.wait_for("cannot_serve")["reason"]
            assert server.wait() == 1


def test_requests_under_way_are_seen():
    with plain() as app:
        seen: list[float] = []
        app.painter.before_step = lambda _: seen.append(app.figure("inpaint_in_flight"))
        app.invoke(advert(1).body)
        assert set(seen) == {1.0}
        until(lambda: app.figure("inpaint_in_flight") == 0)
