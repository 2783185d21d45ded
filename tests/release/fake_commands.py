"""A fake `docker` or `aws`, whichever name it is installed under: records its calls and answers build_and_push.sh.

The folder above its own holds `state.json` (what exists) and `calls.jsonl` (one call a line, as a list of arguments).
"""

# ruff: noqa: PTH123 - these programs start some hundred times, and pathlib takes longer than all they do

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    State = dict[str, Any]

FOLDER, _, NAME = sys.argv[0].rpartition("/")
STATE_FOLDER = FOLDER.rpartition("/")[0]


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def refuse(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)


def ecr_error(name: str, operation: str) -> NoReturn:
    refuse(f"\nAn error occurred ({name}) when calling the {operation} operation: ...", 254)


def docker(state: State, arguments: list[str]) -> None:
    match arguments:
        case ["version"]:
            if not state["engine"]:
                refuse("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", 1)
        case ["buildx", "version"]:
            if not state["buildx"]:
                refuse("docker: 'buildx' is not a docker command.", 1)
        case ["login", "--username", "AWS", "--password-stdin", host]:
            log_in(state, host)
        case ["buildx", "build", *options]:
            build(state, options)
        case ["push", image]:
            push(state, image)
        case _:
            refuse(f"docker: unsupported arguments {arguments}", 99)


def log_in(state: State, host: str) -> None:
    if sys.stdin.read().strip() != state["password"]:
        refuse("denied: wrong password", 1)
    state["logged_in"] = host


def build(state: State, options: list[str]) -> None:
    if not state["builds"]:
        refuse("ERROR: failed to solve", 1)
    write("#1 building")
    state["built"] = options[options.index("--tag") + 1]


def push(state: State, image: str) -> None:
    host, _, name = image.partition("/")
    if image != state["built"] or host != state["logged_in"]:
        refuse("no basic auth credentials", 1)
    write("pushed")
    state["images"][name] = state["pushes_as"]


def aws(state: State, arguments: list[str]) -> None:
    if arguments == ["configure", "get", "region"]:
        if not state["profile_region"]:
            raise SystemExit(1)
        write(state["profile_region"])
        return
    if not state["credentials"]:
        refuse('\nUnable to locate credentials. You can configure credentials by running "aws configure".', 253)
    service, operation, *rest = arguments
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    if state["denied"] == operation:
        ecr_error("AccessDeniedException", operation)
    OPERATIONS[f"{service} {operation}"](state, options)


def get_caller_identity(state: State, options: dict[str, str]) -> None:
    assert options["--query"] == "Account"
    write(state["account"])


def get_login_password(_state: State, _options: dict[str, str]) -> None:
    write("a-password-for-twelve-hours")


def repository_uri(state: State, name: str, options: dict[str, str]) -> str:
    suffix = "amazonaws.com.cn" if options["--region"].startswith("cn-") else "amazonaws.com"
    return f"{state['account']}.dkr.ecr.{options['--region']}.{suffix}/{name}"


def describe_repositories(state: State, options: dict[str, str]) -> None:
    name = options["--repository-names"]
    if name not in state["repositories"]:
        ecr_error("RepositoryNotFoundException", "DescribeRepositories")
    write(repository_uri(state, name, options))


def create_repository(state: State, options: dict[str, str]) -> None:
    name = options["--repository-name"]
    state["repositories"][name] = {
        "mutability": options["--image-tag-mutability"],
        "scanning": options["--image-scanning-configuration"],
        "policy": None,
    }
    write(repository_uri(state, name, options))


def put_lifecycle_policy(state: State, options: dict[str, str]) -> None:
    state["repositories"][options["--repository-name"]]["policy"] = json.loads(options["--lifecycle-policy-text"])
    write("{}")


def describe_images(state: State, options: dict[str, str]) -> None:
    tag = options["--image-ids"].removeprefix("imageTag=")
    media_type = state["images"].get(f"{options['--repository-name']}:{tag}")
    if media_type is None:
        ecr_error("ImageNotFoundException", "DescribeImages")
    write(media_type)


OPERATIONS: dict[str, Callable[[State, dict[str, str]], None]] = {
    "sts get-caller-identity": get_caller_identity,
    "ecr get-login-password": get_login_password,
    "ecr describe-repositories": describe_repositories,
    "ecr create-repository": create_repository,
    "ecr put-lifecycle-policy": put_lifecycle_policy,
    "ecr describe-images": describe_images,
}


def main() -> None:
    arguments = sys.argv[1:]
    with open(f"{STATE_FOLDER}/calls.jsonl", "a") as calls:
        calls.write(json.dumps([NAME, *arguments]) + "\n")
    with open(f"{STATE_FOLDER}/state.json") as file:
        state = json.load(file)
    {"docker": docker, "aws": aws}[NAME](state, arguments)
    with open(f"{STATE_FOLDER}/state.json", "w") as file:
        json.dump(state, file)


if __name__ == "__main__":
    main()
