"""The log, the metrics, and the request id that connects them with an answer."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from typing import Any

import pytest

from testing.metrics import Metrics
from testing.plain_server import PlainServer, wait_until
from testing.running import Reply, Server
from testing.traffic import ATTRIBUTES, SMALL, SampleRequest, advert, as_json, invalid, lines, mask, photo

JAVA_TEXT = re.compile(r"Model server started\.|WARNING: sun\.reflect\..*")


def send(server: Server, sample: SampleRequest, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("POST", "/invocations", sample.body, sample.headers | named)


def log_line(server: Server, reply: Reply) -> dict[str, Any]:
    """The request's line in the log."""
    return server.wait_for("request", request_id=reply.headers["x-request-id"])


def test_log_line_of_advert_without_its_content(server: Server):
    reply = send(server, advert(7, num_images=2), X_Amzn_Trace_Id="Root=1-5759e988-bd862e3f")
    line = log_line(server, reply)
    assert (line["status"], line["code"], line["task"], line["seed"], line["images"]) == (200, "ok", "advert", 7, 2)
    assert (line["size"], line["photo"], line["trace"]) == ([64, 64], [60, 90], "Root=1-5759e988-bd862e3f")
    assert set(line["stages_ms"]) == {"decode", "queue", "segment", "background", "passes", "composite", "encode"}
    assert 0 < sum(line["stages_ms"].values()) <= 1.5 * line["ms"]
    assert (line["bytes_in"], line["bytes_out"] > 0) == (len(advert(7, num_images=2).body), True)
    assert reply.json["request_id"] == line["request_id"]
    text = json.dumps(line)
    assert str(SMALL["background_prompt"]) not in text
    assert str(SMALL["foreground_prompt"]) not in text
    assert json.loads(advert(7).body)["image"][:40] not in text


def test_log_line_has_sagemaker_inference_id(server: Server):
    reply = send(server, mask(1), X_Amzn_SageMaker_Inference_Id="order-66", traceparent="00-4bf92f35-00f067aa-01")
    line = log_line(server, reply)
    assert (line["inference_id"], line["trace"], line["task"]) == ("order-66", "00-4bf92f35-00f067aa-01", "mask")


def test_log_line_of_refused_request(server: Server):
    line = log_line(server, send(server, invalid(1)))
    assert (line["status"], line["code"], line["field"]) == (400, "invalid_request", "image")


def test_log_line_for_each_json_line(server: Server):
    valid = lines(40)
    sample = SampleRequest(kind="lines", body=valid.body + b"\n{}", headers=valid.headers)
    reply = send(server, sample)
    whole = server.wait_for("request", request_id=reply.headers["x-request-id"], lines=4)
    assert whole["code"] == "ok"
    logged = server.events("request", request_id=whole["request_id"])
    codes = {line["line"]: line["code"] for line in logged if "line" in line}
    assert codes == {1: "ok", 2: "ok", 3: "ok", 4: "invalid_request"}


def test_prompts_logged_only_if_set(capsys: pytest.CaptureFixture[str]):
    for log_prompts in (False, True):
        with PlainServer(log_prompts=log_prompts) as server:
            server.invoke(advert(1).body)
        assert ("beach" in capsys.readouterr().out) == log_prompts


@pytest.mark.parametrize("text", ['x\r\n{"event": "forged"}', "x\x1b[2J\x07", 'x", "event": "forged', "x\u2028y"])
def test_request_escaped_in_log(server: Server, text: str):
    raw = text.encode()
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
    part = f'--XX\r\nContent-Disposition: form-data; name="image"; filename="{text}"\r\n\r\n'.encode()
    form = part + photo() + b"\r\n--XX--\r\n"
    send(server, SampleRequest(kind="form", body=form, headers={"Content-Type": "multipart/form-data; boundary=XX"}))
    send(server, SampleRequest(kind="prompt", body=as_json({"background_prompt": text, text: 1})))
    log_line(server, send(server, advert(3)))
    logged = list(server.lines)
    assert [line for line in logged if not line.startswith("{") and not JAVA_TEXT.fullmatch(line.rstrip("\n"))] == []
    events = [json.loads(line) for line in logged if line.startswith("{")]
    assert [event for event in events if event.get("event") == "forged"] == []
    assert not [line for line in logged if "\x1b" in line or "\x07" in line]


def test_every_answer_has_request_id(server: Server):
    ways = [
        ("GET", "/ping"),
        ("GET", "/invocations"),
        ("POST", "/invocations"),
        ("GET", "/models"),
        ("POST", "/predictions/model"),
        ("PUT", "/nothing"),
    ]
    assert [way for way in ways if not server.request(*way).headers.get("x-request-id")] == []
    with PlainServer() as plain:
        answers = [plain.client.request(method, path) for method, path in ways]
    assert [reply.url.path for reply in answers if not reply.headers.get("x-request-id")] == []


def test_log_line_is_cloudwatch_metric(server: Server):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    line = log_line(server, send(server, advert(8)))
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert isinstance(line["_aws"]["Timestamp"], int)
    assert directive["Namespace"] == "adverts"
    assert all(isinstance(line[name], str) for dimensions in directive["Dimensions"] for name in dimensions)
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int | float)
        assert metric["Unit"] in {"Count", "Milliseconds"}
    assert (line["Task"], line["Code"], line["Requests"], line["Pictures"]) == ("advert", "ok", 1, 1)
    assert line["Latency"] == line["ms"]


def test_metrics_by_task_and_code(server: Server, metrics_port: int):
    before = Metrics.read(metrics_port)
    for sample in (advert(50), advert(51, num_images=3), mask(50), invalid(50), lines(60)):
        log_line(server, send(server, sample))
    after = Metrics.read(metrics_port)

    def added(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert added("inpaint_requests_total", task="advert", code="ok") == 2 + 3
    assert added("inpaint_requests_total", task="mask", code="ok") == 1
    assert added("inpaint_requests_total", task="unknown", code="invalid_request") == 1
    assert added("inpaint_pictures_total") == 1 + 3 + 1 + 3
    for stage in ("decode", "queue", "passes", "encode", "total"):
        assert added("inpaint_stage_seconds_count", stage=stage) >= 6
    assert added("inpaint_cache_misses_total", cache="backgrounds") > 0
    assert after.value("inpaint_cache_bytes", cache="backgrounds") > 0
    assert (after.value("inpaint_in_flight"), after.value("inpaint_waiting")) == (0, 0)
    assert after.value("process_resident_memory_bytes") > 1e6


def test_restarts_counted(server: Server, metrics_port: int):
    assert Metrics.read(metrics_port).value("inpaint_restarts_total", part="engine") == 0
    server.kill_engine()
    server.wait_for("state", state="ready")
    after = Metrics.read(metrics_port)
    assert after.value("inpaint_restarts_total", part="engine") == 1
    assert after.value("inpaint_restarts_total", part="front door") == 0


def test_taken_metrics_port_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Server(environment={"INPAINT_METRICS_PORT": str(port)}) as server:
            assert "INPAINT_METRICS_PORT" in server.wait_for("cannot_serve")["reason"]
            assert server.wait() == 1


def test_requests_in_progress_counted():
    with PlainServer() as server:
        values: list[float] = []
        server.backend.before_step = lambda _: values.append(server.metric("inpaint_in_flight"))
        server.invoke(advert(1).body)
        assert set(values) == {1.0}
        wait_until(lambda: server.metric("inpaint_in_flight") == 0)
