"""What passes the front door, and what does not: bytes, types, statuses, headers, forms, methods, management."""

from __future__ import annotations

import http.client
import json
import random
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from inpaint_server import __version__, settings
from inpaint_server.front_door import mms as front_door
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
        ('{"scene": "Füße 靴"}'.encode() + b" " * 2000, "application/json"),
        (b"PK" * 1000, "application/zip"),
        (b"--b\r\nthis is no form" * 100, "multipart/form-data; boundary=b"),
        (b"%&=" * 1000, "application/x-www-form-urlencoded"),
    ],
)
def test_bytes_pass_unchanged_both_ways(server: Server, body: bytes, content_type: str):
    reply = server.invoke(body, content_type)
    assert (reply.status, reply.headers["content-type"], reply.body == body) == (200, content_type, True)


@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines", "image/png"])
def test_small_answers_cost_no_worker(server: Server, content_type: str):
    workers = server.pids("model_service_worker")
    body = b'{"a": 1}\n{"b": 2}\n' if content_type == "application/jsonlines" else b'{"a": 1}'
    for _ in range(200):
        reply = server.invoke(body, content_type, pad="x" * 200)
        assert reply.status == 200
        assert reply.body.split() == body.split()
        assert content_type != "image/png" or reply.body == body
    assert server.pids("model_service_worker") == workers


@pytest.mark.parametrize("status", [400, 404, 405, 406, 413, 415, 500, 503, 504, 507])
def test_an_error_keeps_its_status_and_body(server: Server, status: int):
    reply = server.invoke(b'{"error": {"code": "x"}}', status=status)
    assert (reply.status, reply.json) == (status, {"error": {"code": "x"}})


def test_a_body_beyond_the_limit_reaches_the_engine_which_refuses_it(server: Server):
    body = bytes(60_000_000)
    assert server.invoke(body, "image/png", status=413, quiet=1).status == 413


def test_custom_attributes_and_the_request_id_pass(server: Server):
    attributes = json.dumps({"background_prompt": "Füße", "seed": 7}, ensure_ascii=False)
    headers = {"Content-Type": "image/png", "X-Amzn-SageMaker-Custom-Attributes": attributes.encode().decode("latin-1")}
    reply = server.request("POST", "/invocations", PNG, headers)
    returned = reply.headers["x-amzn-sagemaker-custom-attributes"]
    assert returned.encode("latin-1").decode() == attributes
    seen = json.loads(server.invoke(b"{}", headers_seen=1).body)
    assert seen["x-request-id"]
    assert server.invoke(b"{}", headers_seen=1).headers["x-request-id"] != seen["x-request-id"]


@pytest.mark.parametrize("value", ["a\rX-Evil: 1", "a\x0bb", "a\x00b", "a\r\n\tX-Evil: 1"])
def test_a_header_cannot_split_an_answer(server: Server, value: str):
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


def test_forms_arrive_with_their_files_byte_for_byte(server: Server):
    files = {"image": ("füße.png", PNG, "image/png"), "mask": ("m.bin", bytes(range(256)), "application/octet-stream")}
    fields = {"background_prompt": 'a "wooden" table\r\nby a lake, Füße', "seed": "7"}
    headers = {"X-Amzn-SageMaker-Custom-Attributes": '{"form": 1}'}
    url = f"http://127.0.0.1:{server.port}/invocations"
    reply = httpx.post(url, files=files, data=fields, headers=headers)
    assert reply.json() == {"image": PNG.hex(), "mask": bytes(range(256)).hex(), **fields}


def test_a_part_that_is_named_body_is_a_part(server: Server):
    url = f"http://127.0.0.1:{server.port}/invocations"
    headers = {"X-Amzn-SageMaker-Custom-Attributes": '{"form": 1}'}
    reply = httpx.post(url, files={"body": ("b", b"x", "image/png")}, data={"accept": "y"}, headers=headers)
    assert reply.json() == {"body": b"x".hex(), "accept": "y"}


def test_a_query_is_no_part_of_the_body(server: Server):
    assert server.request("POST", "/invocations?body=evil&seed=%zz", b"good", {"Content-Type": "x/y"}).body == b"good"


def test_no_caller_speaks_for_the_front_door(server: Server):
    own = {"x-inpaint-content-type": "image/png", "x-inpaint-method": "GET", "x-inpaint-passthrough": "1"}
    reply = server.request("POST", "/invocations", b"{}", {"Content-Type": "application/json", **own})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert not [name for name in reply.headers if name.startswith("x-inpaint")]
    assert server.request("GET", "/elsewhere", headers=own).json["error"]["code"] == "not_found"


def test_an_urlencoded_body_reaches_the_engine_as_what_it_is(server: Server):
    reply = server.invoke(b"a=1&b=2", "application/x-www-form-urlencoded")
    assert reply.headers["content-type"] == "application/x-www-form-urlencoded"
    assert reply.body == b"a=1&b=2"


def test_other_methods_are_refused_by_the_engine(server: Server):
    for method, body in (("GET", b""), ("DELETE", b""), ("PUT", b"{}"), ("BREW", b"{}")):
        reply = server.request(method, "/invocations", body, {"Content-Type": "application/json"})
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
def test_nothing_else_is_reachable(server: Server, method: str, path: str):
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
def test_what_only_java_can_refuse_is_refused_in_our_words(
    server: Server, request_bytes: bytes, status: int, code: str
):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request_bytes)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        error = json.loads(answer.read())["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["request_id"] == answer.headers["x-request-id"]


def test_the_front_door_listens_on_the_public_port_alone(server: Server):
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    ours = {str(fd.readlink()) for pid in server.pids() for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    listening = {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours}
    assert listening == {f"00000000:{server.port:04X}"}


def test_many_callers_at_once_get_their_own_answers(server: Server):
    with ThreadPoolExecutor(24) as pool:
        bodies = [json.dumps({"i": i}).encode() for i in range(240)]
        assert [reply.json for reply in pool.map(server.invoke, bodies)] == [{"i": i} for i in range(240)]


def test_ping_tells_version_and_commit(server: Server):
    reply = server.request("GET", "/ping")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {"status": "ready", "version": __version__, "revision": "66e5ef0b075e"}


def test_the_engines_own_ping_tells_them_too():
    app = EngineApp(settings.read(revision="66e5ef0b075e"))
    reply = TestClient(app.asgi).get("/ping")
    assert (reply.status_code, reply.json()["revision"]) == (503, "66e5ef0b075e")


def test_the_limits_of_the_front_door_lie_beyond_ours(tmp_path: Path):
    given = settings.read(max_body_mb=50, queue=10, max_batch=4, max_reply_mb=30)
    text = front_door.properties(given, RunFolder(tmp_path))
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert int(values["max_request_size"]) >= 2 * given.max_body_bytes
    assert values["max_response_size"] == "30000000"
    assert int(values["default_workers_per_model"]) > given.queue + given.max_batch
    assert values["management_address"].startswith("unix:")


def test_the_real_engine_answers_through_the_front_door(real_server: Server):
    assert real_server.ping() == 200
    refused = real_server.invoke(b'{"imag": 1}')
    assert (refused.status, refused.json["error"]["field"]) == (400, "imag")
    assert refused.json["error"]["request_id"] == refused.headers["x-request-id"]
    assert real_server.request("GET", "/invocations").json["error"]["code"] == "method_not_allowed"
    order = {"task": "background", "background_prompt": "a lake", "seed": 7, "steps": 1, "width": 64, "height": 64}
    made = [real_server.invoke(json.dumps(order).encode()) for _ in range(2)]
    assert [reply.status for reply in made] == [200, 200]
    assert made[0].json["images"] == made[1].json["images"]
