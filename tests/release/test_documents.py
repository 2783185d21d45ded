"""What docs/release.md and the Dockerfile say, run as far as it runs without a cloud and without an engine."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from inpaint_server.schema import InvocationRequest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "release.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


class Account:
    """SageMaker as botocore's model knows it: requests must be valid, what was made must be deleted."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.asked: list[Any] = []

    def call(self, client: BaseClient, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        model = client.meta.service_model.operation_model(operation)
        validate_parameters(parameters, model.input_shape)
        kind = operation.removeprefix("Create").removeprefix("Delete")
        if operation.startswith("Create"):
            self.made.add(f"{kind} {parameters[f'{kind}Name']}")
        elif operation.startswith("Delete"):
            self.made.remove(f"{kind} {parameters[f'{kind}Name']}")
        elif operation == "DescribeEndpoint" and f"Endpoint {parameters['EndpointName']}" not in self.made:
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "Could not find it"}}, operation)
        elif operation == "InvokeEndpoint":
            assert f"Endpoint {parameters['EndpointName']}" in self.made
            self.asked.append(json.loads(parameters["Body"]))
            image = {"seed": 7, "image": base64.b64encode(b"a picture").decode()}
            return {"Body": io.BytesIO(json.dumps({"images": [image]}).encode())}
        return {"EndpointStatus": "InService"}


def test_the_pages_python_makes_asks_and_deletes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    account = Account()

    def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return account.call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    photos = "src/inpaint_server/demo/photos"
    (tmp_path / photos).parent.mkdir(parents=True)
    (tmp_path / photos).symlink_to(ROOT / photos)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    known: dict[str, Any] = {}
    for block in blocks[:-1]:
        exec(compile(block, "docs/release.md", "exec"), known)
    assert account.made == {"Model adverts-1", "EndpointConfig adverts-1", "Endpoint adverts"}
    exec(compile(blocks[-1], "docs/release.md", "exec"), known)
    assert account.made == set()
    assert (tmp_path / "advert-7.png").read_bytes() == b"a picture"
    assert [InvocationRequest.model_validate(request).background_prompt for request in account.asked] == [
        "a brick wall"
    ]


def test_the_pages_policies_are_json():
    policies = re.findall(r"-document '(\{.*?\})'$", PAGE, re.MULTILINE | re.DOTALL)
    assert [json.loads(policy.replace("'\"$BUCKET\"'", "b"))["Version"] for policy in policies] == ["2012-10-17"] * 2


def test_the_pages_commands_exist():
    commands = set(re.findall(r"(?:scripts/(\w+)\.py|inpaint-server) (\w+)", " ".join(shell_lines())))
    assert {("package_bundle", "upload"), ("package_bundle", "archive"), ("package_bundle", "check")} <= commands
    options = {word for line in shell_lines() if "build_and_push" in line for word in line.split() if word[:2] == "--"}
    script = (ROOT / "build_and_push.sh").read_text()
    assert [option for option in options if f"{option.strip('()')})" not in script] == []


def shell_lines() -> list[str]:
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return "\n".join(blocks).splitlines()


def test_the_images_layers_hold_what_the_project_asks_for_and_no_tools(tmp_path: Path):
    """The script of the Dockerfile's first stage, run on this checkout."""
    (script,) = re.findall(r"<<'END'\n(.*?)^END$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    for name in ("requirements.lock", "pyproject.toml"):
        script = script.replace(f"/{name}", str(ROOT / name))
    script = re.sub(r"/(\w+\.txt)", rf"{tmp_path}/\1", script).replace("python3", sys.executable)
    subprocess.run(["sh", "-c", script], check=True)
    cuda, torch, direct = ((tmp_path / f"{name}.txt").read_text() for name in ("cuda", "torch", "direct"))
    assert re.findall(r"^[a-z]+", torch, re.MULTILINE) == ["torch", "torchvision", "xformers"]
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    assert set(cuda.splitlines()) == {line for line in locked if line.startswith(("nvidia-", "cuda-", "triton="))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert direct.splitlines() == [*project["dependencies"], *extras["aws"], *extras["gpu"]]


@pytest.mark.parametrize(
    "promise",
    [
        r'^ENTRYPOINT \["/',
        r'^CMD \["serve"\]$',
        r"^USER \d+:\d+$",
        r"^HEALTHCHECK ",
        r"NVIDIA_VISIBLE_DEVICES=all",
        r"org\.opencontainers\.image\.version=",
        r"org\.opencontainers\.image\.revision=",
        r"com\.amazonaws\.sagemaker\.capabilities\.accept-bind-to-port=\"true\"",
    ],
)
def test_the_image_promises_what_the_platform_wants(promise: str):
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(promise, final, re.MULTILINE)


def test_no_build_asks_a_registry_for_its_frontend():
    assert not re.search(r"^#\s*syntax\s*=", DOCKERFILE, re.MULTILINE | re.IGNORECASE)
