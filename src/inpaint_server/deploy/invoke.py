"""Invoking a deployed endpoint: a file with a request in, a file with the answer out."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any, Final, cast

from inpaint_server.deploy.account import Account, find
from inpaint_server.deploy.deployment import CannotDeploy, s3_uri
from inpaint_server.deploy.requests import INVOCATION_TIMEOUT_S

CONTENT_TYPES: Final = {
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".npy": "application/x-npy",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
_POLL_EVERY_S: Final = 2.0
_COLD_START_S: Final = 1800
"""An asynchronous endpoint that stands at zero needs an instance, the image and the weights first."""


def invoke(account: Account, name: str, request: Path, accept: str) -> bytes:
    """The answer of an endpoint, whichever kind it is.

    Args:
        account: Where it is.
        name: The endpoint's.
        request: The request's body; its suffix gives its media type.
        accept: The media type wanted.

    Raises:
        CannotDeploy: there is no such endpoint, or the server refused (in its own words).
    """
    if request.suffix not in CONTENT_TYPES:
        raise CannotDeploy(f"Name the request's file with one of {', '.join(CONTENT_TYPES)}: not {request.name}.")
    endpoint = find(account, "endpoint", name)
    if endpoint is None:
        raise CannotDeploy(f"Check the name and the region: there is no endpoint {name}.")
    config = find(account, "endpoint_config", endpoint["EndpointConfigName"]) or {}
    headers = {"ContentType": CONTENT_TYPES[request.suffix], "Accept": accept}
    if config.get("AsyncInferenceConfig"):
        answers = config["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"]
        return _ask_through_s3(account, name, request, headers, answers)
    return _ask(account, name, request, headers)


def _ask(account: Account, name: str, request: Path, headers: dict[str, str]) -> bytes:
    from botocore.exceptions import ClientError

    try:
        answer = account.runtime.invoke_endpoint(EndpointName=name, Body=request.read_bytes(), **headers)
    except ClientError as error:
        response = cast("Any", error).response
        if "OriginalMessage" not in response:
            raise
        raise CannotDeploy(
            f"The server refused ({response['OriginalStatusCode']}): {response['OriginalMessage']}"
        ) from None
    return answer["Body"].read()


def _ask_through_s3(account: Account, name: str, request: Path, headers: dict[str, str], answers: str) -> bytes:
    """Upload the request beside the answers, wait for the answer or the error, and delete the request again."""
    bucket, prefix = s3_uri(answers, "the answers")
    key = f"{prefix.rpartition('/')[0]}/requests/{uuid.uuid4()}{request.suffix}".lstrip("/")
    account.s3.put_object(Bucket=bucket, Key=key, Body=request.read_bytes())
    try:
        accepted = account.runtime.invoke_endpoint_async(
            EndpointName=name,
            InputLocation=f"s3://{bucket}/{key}",
            InvocationTimeoutSeconds=INVOCATION_TIMEOUT_S,
            **headers,
        )
        return _wait(account, accepted["OutputLocation"], accepted.get("FailureLocation"))
    finally:
        account.s3.delete_object(Bucket=bucket, Key=key)


def _wait(account: Account, answer: str, failure: str | None) -> bytes:
    attempts = int((_COLD_START_S + INVOCATION_TIMEOUT_S) / _POLL_EVERY_S)
    pause = threading.Event()
    for _ in range(attempts):
        if (body := _object(account, answer)) is not None:
            return body
        if failure is not None and (body := _object(account, failure)) is not None:
            raise CannotDeploy(f"The server refused: {body.decode(errors='replace')[:1000]}")
        pause.wait(_POLL_EVERY_S)
    raise CannotDeploy(
        f"No answer came to {answer}: see whether an instance starts with `inpaint-server deploy status`."
    )


def _object(account: Account, uri: str) -> bytes | None:
    from botocore.exceptions import ClientError

    bucket, key = s3_uri(uri, "the answer's place")
    try:
        return account.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        # Without the permission to list the bucket, an object that is not there yet is a 403.
        if cast("Any", error).response["Error"]["Code"] in {"NoSuchKey", "AccessDenied"}:
            return None
        raise
