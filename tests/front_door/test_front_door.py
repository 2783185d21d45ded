"""The front door passes requests and answers on unchanged, and nothing else is reachable through it."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from inpaint_server import __version__, settings
from inpaint_server.front_door import mms
from inpaint_server.front_door.run_folder import RunFolder
from inpaint_server.server.app import EngineApp
from testing.running import Server

PNG = b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(range(256)) * 40)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (random.Random(1).randbytes(5_000_000), "application/x-npy"),
        (PNG, "image/png"),
        (bytes(range(256)) * 8, "image/webp"),
        ('{"prompt": "Füße 靴"}'.encode() + b" " * 2000, "application/json"),
        (b"PK" * 1000, "application/zip"),
        (b"--b\r\nnot a form" * 100, "multipart/form-data; boundary=b"),
        (b"%&=" * 1000, "application/x-www-form-urlencoded"),
    ],
)
def test_body_unchanged_both_ways(server: Server, body: bytes, content_type: str):
    reply = server.invoke(body, content_type)
    assert (reply.status, reply.headers["content-type"], reply.body == body) == (200, content_type, True)


@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines", "image/png"])
def test_small_responses_keep_workers(server: Server, content_type: str):
    workers = server.pids("model_service_worker")
    body = b'{"a": 1}\n{"b": 2}\n' if content_type == "application/jsonlines" else b'{"a": 1}'
    for _ in range(200):
        reply = server.invoke(body, content_type, padding="x" * 200)
        assert reply.status == 200
        assert reply.body.split() == body.split()
        assert content_type != "image/png" or reply.body == body
    assert server.pids("model_service_worker") == workers


@pytest.mark.parametrize("status", [400, 404, 405, 406, 413, 415, 500, 503, 504, 507])
def test_error_status_and_body_unchanged(server: Server, status: int):
    reply = server.invoke(b'{"error": {"code": "x"}}', status=status)
    assert (reply.status, reply.json) == (status, {"error": {"code": "x"}})


def test_body_beyond_limit_reaches_engine(server: Server):
    body = bytes(60_000_000)
    assert server.invoke(body, "image/png", status=413, empty=1).status == 413


def test_custom_attributes_and_request_id_passed(server: Server):
    attributes = json.dumps({"background_prompt": "Füße", "seed": 7}, ensure_ascii=False)
    headers = {"Content-Type": "image/png", "X-Amzn-SageMaker-Custom-Attributes": attributes.encode().decode("latin-1")}
    reply = server.request("POST", "/invocations", PNG, headers)
    returned = reply.headers["x-amzn-sagemaker-custom-attributes"]
    assert returned.encode("latin-1").decode() == attributes
    received = server.invoke(b"{}", show="headers").json
    assert received["x-request-id"]
    assert server.invoke(b"{}", show="headers").headers["x-request-id"] != received["x-request-id"]


def test_arrival_recorded_by_front_door(server: Server):
    forged = {"X-Amzn-SageMaker-Custom-Attributes": '{"show": "headers"}', "x-inpaint-arrived": "5"}
    before = time.time()
    received = server.request("POST", "/invocations", b"{}", forged).json
    assert before - 1 <= int(received["x-inpaint-arrived"]) / 1000 <= time.time() + 1


def test_header_after_tiny_responses_keeps_workers(server: Server):
    """A tiny response shrinks the front door's buffer of its worker; the next header arrives in pieces."""
    workers = server.pids("model_service_worker")
    for _ in range(2):
        for _ in range(20 * len(workers)):
            assert server.invoke(b"{}").body == b"{}"
        for _ in range(2 * len(workers)):
            assert server.invoke(b"{}", padding="x" * 900).status == 200
    assert server.pids("model_service_worker") == workers


@pytest.mark.parametrize("value", ["a\rX-Evil: 1", "a\x0bb", "a\x00b", "a\r\n\tX-Evil: 1"])
def test_header_cannot_split_response(server: Server, value: str):
    head = (
        "POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\nContent-Length: 2\r\n"
    )
    request = f"{head}X-Amzn-SageMaker-Custom-Attributes: {value}\r\n\r\nhi"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request.encode("latin-1"))
        connection.settimeout(5)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 ")
    assert b"\nx-evil" not in answer.lower().replace(b"\r", b"\n")
    assert server.invoke(b"{}").status == 200


def test_form_files_unchanged(server: Server):
    files = {"image": ("füße.png", PNG, "image/png"), "mask": ("m.bin", bytes(range(256)), "application/octet-stream")}
    fields = {"background_prompt": 'a "wooden" table\r\nby a lake, Füße', "seed": "7"}
    headers = {"X-Amzn-SageMaker-Custom-Attributes": '{"show": "form"}'}
    url = f"http://127.0.0.1:{server.port}/invocations"
    reply = httpx.post(url, files=files, data=fields, headers=headers)
    assert reply.json() == {"image": PNG.hex(), "mask": bytes(range(256)).hex(), **fields}


def test_form_part_named_body(server: Server):
    url = f"http://127.0.0.1:{server.port}/invocations"
    headers = {"X-Amzn-SageMaker-Custom-Attributes": '{"show": "form"}'}
    reply = httpx.post(url, files={"body": ("b", b"x", "image/png")}, data={"accept": "y"}, headers=headers)
    assert reply.json() == {"body": b"x".hex(), "accept": "y"}


def test_query_ignored(server: Server):
    assert server.request("POST", "/invocations?body=evil&seed=%zz", b"good", {"Content-Type": "x/y"}).body == b"good"


def test_internal_headers_of_callers_ignored(server: Server):
    own = {"x-inpaint-content-type": "image/png", "x-inpaint-method": "GET", "x-inpaint-passthrough": "1"}
    reply = server.request("POST", "/invocations", b"{}", {"Content-Type": "application/json", **own})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert not [name for name in reply.headers if name.startswith("x-inpaint")]
    assert server.request("GET", "/elsewhere", headers=own).json["error"]["code"] == "not_found"


def test_urlencoded_body_unchanged(server: Server):
    reply = server.invoke(b"a=1&b=2", "application/x-www-form-urlencoded")
    assert reply.headers["content-type"] == "application/x-www-form-urlencoded"
    assert reply.body == b"a=1&b=2"


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("DELETE", b""), ("PUT", b"{}"), ("BREW", b"{}")])
def test_other_methods_refused_by_engine(real_server: Server, method: str, body: bytes):
    reply = real_server.request(method, "/invocations", body, {"Content-Type": "application/json"})
    assert (reply.status, reply.json["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models"),
        ("POST", "/models?url=http://127.0.0.1:1/x.mar"),
        ("PUT", "/models/model?min_worker=0"),
        ("DELETE", "/models/model"),
        ("GET", "/models/model"),
        ("POST", "/predictions/model"),
        ("POST", "/model/predict"),
        ("GET", "/metrics"),
        ("OPTIONS", "/"),
        ("POST", "/invocations/model"),
        ("GET", "/%zz"),
        ("GET", "/"),
    ],
)
def test_other_paths_not_found(server: Server, method: str, path: str):
    reply = server.request(method, path)
    assert (reply.status, reply.json["error"]["code"]) == (404, "not_found")
    assert reply.json["error"]["request_id"] == reply.headers["x-request-id"]
    assert server.invoke(b"{}").status == 200


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n", 413, "too_large"),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400, "invalid_request"),
        (b"HELLO\r\n\r\n", 400, "invalid_request"),
        (b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "method_not_allowed"),
    ],
)
def test_errors_of_java_in_our_format(server: Server, request_bytes: bytes, status: int, code: str):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request_bytes)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        error = json.loads(answer.read())["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["request_id"] == answer.headers["x-request-id"]


def test_only_public_port_listens(server: Server):
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    own = {str(fd.readlink()) for pid in server.pids() for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    listening = {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}
    assert listening == {f"00000000:{server.port:04X}"}


def test_concurrent_callers_get_own_answers(server: Server):
    with ThreadPoolExecutor(24) as pool:
        bodies = [json.dumps({"i": i}).encode() for i in range(240)]
        assert [reply.json for reply in pool.map(server.invoke, bodies)] == [{"i": i} for i in range(240)]


def test_ping_reports_version_and_commit(server: Server):
    reply = server.request("GET", "/ping")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {"status": "ready", "version": __version__, "revision": "66e5ef0b075e"}


def test_engine_ping_reports_commit():
    app = EngineApp(settings.read(revision="66e5ef0b075e"))
    reply = TestClient(app.asgi).get("/ping")
    assert (reply.status_code, reply.json()["revision"]) == (503, "66e5ef0b075e")


def test_front_door_limits_exceed_settings(tmp_path: Path):
    given = settings.read(max_body_mb=50, queue=10, max_batch=4, max_reply_mb=30)
    text = mms.properties(given, RunFolder(tmp_path), mms.worker_count(given, 10**12))
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert int(values["max_request_size"]) >= 2 * given.max_body_bytes
    assert int(values["max_response_size"]) > given.max_reply_bytes
    assert int(values["default_workers_per_model"]) > given.queue + given.max_batch
    assert values["management_address"].startswith("unix:")


@pytest.mark.parametrize(("memory_gb", "workers"), [(1000, 1036), (64, 275), (8, 34), (0.5, 5)])
def test_workers_and_heap_bounded_by_memory(tmp_path: Path, memory_gb: float, workers: int):
    given = settings.read(queue=1024, max_batch=8, max_body_mb=25)
    assert mms.worker_count(given, int(memory_gb * 1e9)) == workers
    text = mms.properties(given, RunFolder(tmp_path), workers)
    values = dict(line.split("=", 1) for line in text.splitlines())
    heap_mb = int(values["vmargs"].rpartition("-Xmx")[2].removesuffix("m"))
    assert heap_mb <= max(512, memory_gb * 1000 / 4)
    assert int(values["job_queue_size"]) + workers >= 1036, "what the engine would queue waits in Java"


def test_real_engine_through_front_door(real_server: Server):
    assert real_server.ping() == 200
    refused = real_server.invoke(b'{"imag": 1}')
    assert (refused.status, refused.json["error"]["field"]) == (400, "imag")
    assert refused.json["error"]["request_id"] == refused.headers["x-request-id"]
    fields = {"task": "background", "background_prompt": "a lake", "seed": 7, "steps": 1, "width": 64, "height": 64}
    replies = [real_server.invoke(json.dumps(fields).encode()) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].json["images"] == replies[1].json["images"]
