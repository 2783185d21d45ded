"""The commands of docs/release.md and the Dockerfile, as far as they run without AWS and without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from string import Template
from typing import Any

import pytest
from cfnlint.decode import decode
from typer.testing import CliRunner

from inpaint_server import __version__
from inpaint_server.cli import app
from inpaint_server.deploy.account import connect
from inpaint_server.wire.schema import InvocationRequest
from tests.release import fake_aws

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "release.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


VARIABLES = {
    "IMAGE": fake_aws.IMAGE,
    "WEIGHTS": "s3://weights/bundles/1/",
    "ARCHIVE": "s3://weights/bundles/1.tar.gz",
    "ROLE": fake_aws.ROLE,
    "BUCKET": "weights",
}


def deploy_commands() -> list[list[str]]:
    """The arguments of every `inpaint-server deploy` on the page, variables substituted, in order."""
    lines = "\n".join(shell_lines()).replace("\\\n", " ").splitlines()
    commands = [line.partition("inpaint-server ")[2] for line in lines if "inpaint-server deploy" in line]
    return [shlex.split(Template(command).substitute(VARIABLES)) for command in commands]


def test_deploy_commands_create_invoke_and_delete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "request.json").write_text("{}")
    runner = CliRunner()
    with fake_aws.account(monkeypatch):
        account = connect(None)
        account.s3.create_bucket(Bucket="weights", CreateBucketConfiguration={"LocationConstraint": fake_aws.REGION})
        done = [runner.invoke(app, words) for words in deploy_commands()]
        assert [result.exit_code for result in done] == [0] * len(done), [str(result.exception) for result in done]
        assert "serves." in done[0].output
        left = [account.sagemaker.list_models()["Models"], account.sagemaker.list_endpoints()["Endpoints"]]
        assert left == [[], []]
    kinds = [words[1] for words in deploy_commands()]
    assert set(kinds) == {"real-time", "async", "batch", "status", "invoke", "delete"}
    assert (tmp_path / "out" / "answer.json").exists()


def test_region_from_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in re.findall(r"(AWS_\w*REGION)=(\S+)", PAGE):
        monkeypatch.setenv(name, value)
    assert connect(None).s3.meta.region_name == "eu-west-1"


def test_walkthrough_files_block_no_build(tmp_path: Path):
    """build_and_push.sh refuses files that git does not know."""
    text = "\n".join(shell_lines())
    left = re.findall(r"(?: > |--out |archive bundle )(\S+)", text)
    assert len(left) == 4
    subprocess.run(["git", "init", "--quiet", "--template=", tmp_path], check=True)
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    for name in (*left, "bundle/bundle.json", "examples/place.json", "examples/server.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    status = ["git", "-C", tmp_path, "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(status, capture_output=True, text=True, check=True).stdout == "?? .gitignore\n"


def test_stack_commands_use_template_parameters():
    for template in re.findall(r"--template-file (\S+)", PAGE):
        [command] = [line for line in "\n".join(shell_lines()).replace("\\\n", " ").splitlines() if template in line]
        given = shlex.split(command)
        names = {word.partition("=")[0] for word in given[given.index("--parameter-overrides") + 1 :]}
        parameters: dict[str, Any] = (decode(str(ROOT / template))[0] or {})["Parameters"]
        assert names <= set(parameters)
        assert {name for name, parameter in parameters.items() if "Default" not in parameter} <= names


def test_catalogue_lines_are_requests():
    [line] = [line for line in shell_lines() if "'\"seed\": '" in line or '"seed": ' in line]
    text = line.partition("echo ")[2].replace("'$number'", "1").strip("'")
    assert InvocationRequest.model_validate_json(text).seed == 1


def test_commands_exist():
    commands = set(re.findall(r"(?:scripts/(\w+)\.py|inpaint-server) (\w+)", " ".join(shell_lines())))
    assert {("package_bundle", "upload"), ("package_bundle", "archive"), ("package_bundle", "check")} <= commands
    options = {word for line in shell_lines() if "build_and_push" in line for word in line.split() if word[:2] == "--"}
    script = (ROOT / "build_and_push.sh").read_text()
    assert [option for option in options if f"{option.strip('()')})" not in script] == []


def shell_lines() -> list[str]:
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return "\n".join(blocks).splitlines()


def test_image_layers_have_dependencies_and_no_tools(tmp_path: Path):
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
    assert direct.splitlines() == [*project["dependencies"], *extras["aws"], *extras["gpu"], *extras["sign"]]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile's last stage, in order: keyword and arguments, continued lines joined."""
    stage = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = [line for line in stage.splitlines() if line and not line.startswith((" ", "#"))]
    return [(keyword, arguments.strip()) for keyword, _, arguments in (line.partition(" ") for line in lines)]


def assignments(keyword: str) -> dict[str, str]:
    """The NAME=VALUE words of every instruction of a kind."""
    words = [word for name, text in instructions() if name == keyword for word in shlex.split(text)]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def test_image_starts_with_serve():
    last = dict(instructions())
    entrypoint: list[str] = json.loads(last["ENTRYPOINT"])
    assert entrypoint[0].startswith("/"), "exec form: signals reach the process"
    assert json.loads(last["CMD"]) == ["serve"]
    user, _, group = last["USER"].partition(":")
    assert int(user) > 0
    assert int(group) >= 0


def test_image_has_labels():
    labels = assignments("LABEL")
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert assignments("ARG")["VERSION"] == __version__, "a build by hand passes no version"
    assert labels["org.opencontainers.image.revision"] == "${REVISION}"
    assert assignments("ENV")["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert "HEALTHCHECK" in dict(instructions())


def test_build_fetches_no_frontend():
    directives = [line.lstrip("# ") for line in DOCKERFILE.splitlines() if line.startswith("#")]
    assert not [directive for directive in directives if directive.replace(" ", "").lower().startswith("syntax=")]
