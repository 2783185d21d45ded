"""Through the front door and directly, every method on every path gets the same status, headers and error code."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from testing.plain_server import PlainServer
from testing.running import Server

PING = ("/ping", "/ping/", "/ping?a=1", "/%70ing")
INVOCATIONS = ("/invocations", "/invocations/", "/invocations?a=1")
ABSENT = ("/", "/metrics", "/docs", "/models", "/ping//", "/invocations/model", "/PING", "/%zz")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
BACKGROUND = b'{"task": "background", "background_prompt": "a lake", "steps": 1}'


@dataclass(frozen=True)
class Outcome:
    """What a caller notices of a response."""

    status: int
    allow: str | None
    content_type: str | None
    code: str | None


@pytest.fixture(scope="module")
def doors() -> Iterator[list[str]]:
    """The URLs of one server behind the front door and of one without."""
    with Server() as behind, PlainServer() as direct:
        behind.wait_for("serving")
        yield [f"http://127.0.0.1:{behind.port}", direct.url]


def send(url: str, method: str, path: str, body: bytes = b"{}", **headers: str) -> Outcome:
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    reply = httpx.request(method, url + path, content=body, headers=named, timeout=60)
    assert reply.headers["x-request-id"]
    assert not reply.content.endswith((b" ", b" \n")), "padded"
    content = json.loads(reply.content) if reply.content else {}
    code = content.get("error", {}).get("code")
    return Outcome(reply.status_code, reply.headers.get("allow"), reply.headers.get("content-type"), code)


def expected(method: str, path: str) -> Outcome:
    json_type = "application/json"
    is_head = method == "HEAD"
    if path in ABSENT:
        return Outcome(404, None, json_type, None if is_head else "not_found")
    allowed = "GET, HEAD" if path in PING else "POST"
    if method not in allowed.split(", "):
        return Outcome(405, allowed, json_type, None if is_head else "method_not_allowed")
    return Outcome(200, None, json_type, None) if path in PING else Outcome(400, None, json_type, "invalid_request")


@pytest.mark.parametrize("path", [*PING, *INVOCATIONS, *ABSENT])
@pytest.mark.parametrize("method", METHODS)
def test_method_and_path(doors: list[str], method: str, path: str):
    assert [send(url, method, path) for url in doors] == [expected(method, path)] * 2


@pytest.mark.parametrize(
    "request_bytes",
    [b"HELLO\r\n\r\n", b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n"],
)
def test_malformed_http(doors: list[str], request_bytes: bytes):
    for url in doors:
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=20) as connection:
            connection.sendall(request_bytes)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            error = json.loads(answer.read())["error"]
        assert (answer.status, error["code"]) == (400, "invalid_request")
        assert answer.headers["content-type"] == "application/json"
        assert error["request_id"] == answer.headers["x-request-id"]


def test_ping_body(doors: list[str]):
    through, direct = (httpx.get(f"{url}/ping").content for url in doors)
    assert through == direct


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BACKGROUND, {}, 200),
        (BACKGROUND, {"content_type": "application/jsonlines"}, 200),
        (b"", {}, 400),
        (b"{", {}, 400),
        (BACKGROUND, {"accept": "text/html"}, 406),
        (BACKGROUND, {"content_type": "text/html"}, 415),
        (b" " * 25_000_001, {}, 413),
    ],
)
def test_invocation(doors: list[str], body: bytes, headers: dict[str, str], status: int):
    through, direct = (send(url, "POST", "/invocations", body, **headers) for url in doors)
    assert through == direct
    assert through.status == status
