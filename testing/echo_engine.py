"""In the engine's place behind the front door: answers with what it received, so that tests see what is passed on.

Custom attributes that are a JSON object decide its answer: `status`; `show`: `headers` or `form` of the request;
`empty`: no body; `attributes`: custom attributes of the answer.
"""

from __future__ import annotations

import argparse
import json

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


async def ping(_: Request) -> Response:
    return Response()


async def echo(request: Request) -> Response:
    body = await request.body()
    attributes = request.headers.get(ATTRIBUTES, "")
    wanted = json.loads(attributes) if attributes.startswith("{") else {}
    if wanted.get("show") == "headers":
        return JSONResponse(dict(request.headers))
    if wanted.get("show") == "form":
        form = await request.form()
        return JSONResponse({name: await content(value) for name, value in form.items()})
    content_type = request.headers.get("content-type", "application/octet-stream")
    headers = {ATTRIBUTES: wanted.get("attributes", attributes)}
    return Response(b"" if "empty" in wanted else body, wanted.get("status", 200), headers, content_type)


async def content(value: object) -> str:
    return (await value.read()).hex() if isinstance(value, UploadFile) else str(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True)
    parser.add_argument("--restarts")
    app = Starlette(routes=[Route("/ping", ping), Route("/invocations", echo, methods=["POST"])])
    uvicorn.run(app, uds=parser.parse_args().uds, log_level="warning")
