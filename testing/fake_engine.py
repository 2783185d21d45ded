"""A stand-in for the engine: same door, no models; it does what FAKE_* variables and custom attributes say."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Engine:
    def __init__(self) -> None:
        self.warm = False
        self.draining = False
        self.hanging = False
        self.running = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def load(self) -> None:
        if gate := os.environ.get("FAKE_GATE"):
            await asyncio.to_thread(Path(gate).read_bytes)  # a named pipe: opens when the test writes to it
        if (broken := os.environ.get("FAKE_FAIL")) and os.path.exists(broken):  # noqa: ASYNC240, PTH110 - instant
            os._exit(3)
        self.warm = True

    async def ping(self, _: Request) -> Response:
        if self.hanging:
            await asyncio.Event().wait()
        return Response(status_code=200 if self.warm and not self.draining else 503)

    async def invoke(self, request: Request) -> Response:
        if request.method != "POST":
            return error(405, "method_not_allowed")
        if self.draining:
            return error(503, "draining", {"Retry-After": "5"})
        self.running += 1
        self.idle.clear()
        try:
            return await self.answer(request, await request.body())
        finally:
            self.running -= 1
            if self.running == 0:
                self.idle.set()

    async def answer(self, request: Request, body: bytes) -> Response:
        attributes = request.headers.get("x-amzn-sagemaker-custom-attributes", "")
        order = json.loads(attributes) if attributes.startswith("{") else {}
        if "die" in order:
            os._exit(9)
        if "hang" in order:
            self.hanging = True
        if "wait" in order:
            await asyncio.to_thread(Path(order["wait"]).read_bytes)
        if "form" in order:
            form = await request.form()
            return JSONResponse({name: await content(value) for name, value in form.items()})
        if "headers_seen" in order:
            return JSONResponse(dict(request.headers))
        headers = {"X-Amzn-SageMaker-Custom-Attributes": order.get("reply", attributes)}
        kind = request.headers.get("content-type", "application/octet-stream")
        return Response(b"" if "quiet" in order else body, order.get("status", 200), headers, kind)


async def content(value: object) -> str:
    return (await value.read()).hex() if isinstance(value, UploadFile) else str(value)


def error(status: int, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": "No.", "field": None, "request_id": ""}}, status, headers)


async def main(path: str) -> None:
    engine = Engine()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    routes = [
        Route("/ping", engine.ping),
        Route("/invocations", engine.invoke, methods=["GET", "POST", "PUT", "DELETE", "HEAD"]),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), uds=path, log_level="warning"))
    server.capture_signals = nullcontext  # pyright: ignore[reportAttributeAccessIssue] - SIGTERM is ours
    loading = asyncio.create_task(engine.load())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    serving = asyncio.create_task(server.serve())
    await stop.wait()
    engine.draining = True
    await engine.idle.wait()
    server.should_exit = True
    await serving
    loading.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True)
    parser.add_argument("--restarts")
    asyncio.run(main(parser.parse_args().uds))
