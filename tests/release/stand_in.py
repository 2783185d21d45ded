"""`docker` and `aws`, as far as build_and_push.sh uses them: installed under either name, it records and answers.

The folder above its own holds `world.json` (what there is) and `calls.jsonl` (what was asked, a list of words a line).
"""

# ruff: noqa: PTH123 - these programs start some hundred times, and pathlib takes longer than all they do

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    World = dict[str, Any]

FOLDER, _, NAME = sys.argv[0].rpartition("/")
PLACE = FOLDER.rpartition("/")[0]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def refuse(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)


def ecr_error(name: str, operation: str) -> NoReturn:
    refuse(f"\nAn error occurred ({name}) when calling the {operation} operation: ...", 254)


def docker(world: World, words: list[str]) -> None:
    match words:
        case ["version"]:
            if not world["engine"]:
                refuse("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", 1)
        case ["buildx", "version"]:
            if not world["buildx"]:
                refuse("docker: 'buildx' is not a docker command.", 1)
        case ["login", "--username", "AWS", "--password-stdin", host]:
            log_in(world, host)
        case ["buildx", "build", *options]:
            build(world, options)
        case ["push", image]:
            push(world, image)
        case _:
            refuse(f"docker: no stand-in for {words}", 99)


def log_in(world: World, host: str) -> None:
    if sys.stdin.read().strip() != world["password"]:
        refuse("denied: wrong password", 1)
    world["logged_in"] = host


def build(world: World, options: list[str]) -> None:
    if not world["builds"]:
        refuse("ERROR: failed to solve", 1)
    say("#1 building")
    world["built"] = options[options.index("--tag") + 1]


def push(world: World, image: str) -> None:
    host, _, name = image.partition("/")
    if image != world["built"] or host != world["logged_in"]:
        refuse("no basic auth credentials", 1)
    say("pushed")
    world["images"][name] = world["pushes_as"]


def aws(world: World, words: list[str]) -> None:
    if words == ["configure", "get", "region"]:
        if not world["profile_region"]:
            raise SystemExit(1)
        say(world["profile_region"])
        return
    if not world["credentials"]:
        refuse('\nUnable to locate credentials. You can configure credentials by running "aws configure".', 253)
    service, operation, *rest = words
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    if world["denied"] == operation:
        ecr_error("AccessDeniedException", operation)
    OPERATIONS[f"{service} {operation}"](world, options)


def get_caller_identity(world: World, options: dict[str, str]) -> None:
    assert options["--query"] == "Account"
    say(world["account"])


def get_login_password(_world: World, _options: dict[str, str]) -> None:
    say("a-password-for-twelve-hours")


def repository_uri(world: World, name: str, options: dict[str, str]) -> str:
    suffix = "amazonaws.com.cn" if options["--region"].startswith("cn-") else "amazonaws.com"
    return f"{world['account']}.dkr.ecr.{options['--region']}.{suffix}/{name}"


def describe_repositories(world: World, options: dict[str, str]) -> None:
    name = options["--repository-names"]
    if name not in world["repositories"]:
        ecr_error("RepositoryNotFoundException", "DescribeRepositories")
    say(repository_uri(world, name, options))


def create_repository(world: World, options: dict[str, str]) -> None:
    name = options["--repository-name"]
    world["repositories"][name] = {
        "mutability": options["--image-tag-mutability"],
        "scanning": options["--image-scanning-configuration"],
        "policy": None,
    }
    say(repository_uri(world, name, options))


def put_lifecycle_policy(world: World, options: dict[str, str]) -> None:
    world["repositories"][options["--repository-name"]]["policy"] = json.loads(options["--lifecycle-policy-text"])
    say("{}")


def describe_images(world: World, options: dict[str, str]) -> None:
    tag = options["--image-ids"].removeprefix("imageTag=")
    media_type = world["images"].get(f"{options['--repository-name']}:{tag}")
    if media_type is None:
        ecr_error("ImageNotFoundException", "DescribeImages")
    say(media_type)


OPERATIONS: dict[str, Callable[[World, dict[str, str]], None]] = {
    "sts get-caller-identity": get_caller_identity,
    "ecr get-login-password": get_login_password,
    "ecr describe-repositories": describe_repositories,
    "ecr create-repository": create_repository,
    "ecr put-lifecycle-policy": put_lifecycle_policy,
    "ecr describe-images": describe_images,
}


def main() -> None:
    words = sys.argv[1:]
    with open(f"{PLACE}/calls.jsonl", "a") as calls:
        calls.write(json.dumps([NAME, *words]) + "\n")
    with open(f"{PLACE}/world.json") as file:
        world = json.load(file)
    {"docker": docker, "aws": aws}[NAME](world, words)
    with open(f"{PLACE}/world.json", "w") as file:
        json.dump(world, file)


if __name__ == "__main__":
    main()
