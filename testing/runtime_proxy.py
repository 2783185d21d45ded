"""A stand-in for SageMaker's runtime in front of a local server: `/endpoints/NAME/invocations`, and its errors."""

from __future__ import annotations

import http.client
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

FORWARDED = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes")
LONGEST_MESSAGE = 1024


class RuntimeProxy:
    """Runs between `with` and its end; `url` is what boto3 takes as `endpoint_url`."""

    def __init__(self, target_port: int) -> None:
        class Handler(_Handler):
            target = target_port

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RuntimeProxy:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = {name: self.headers[name] for name in FORWARDED if name in self.headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        connection.request("POST", "/invocations", body, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status // 100 == 2:
            headers = {name: value for name in FORWARDED if (value := answer.headers.get(name))}
            self._reply(200, content, headers)
        else:
            self._reply(
                424, json.dumps(_model_error(answer.status, content)).encode(), {"x-amzn-ErrorType": "ModelError"}
            )

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


def _model_error(status: int, content: bytes) -> dict[str, Any]:
    """A container's error in the platform's format: 424, the message cut to 1,024 characters."""
    message = content.decode()[:LONGEST_MESSAGE]
    kind = "INTERNAL_FAILURE_FROM_MODEL" if status >= 500 else "CLIENT_ERROR_FROM_MODEL"
    return {"Message": message, "OriginalMessage": message, "OriginalStatusCode": status, "ErrorCode": kind}
