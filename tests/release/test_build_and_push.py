"""The real script against a fake Docker and AWS: its calls, their order, and its messages."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "date", "dirname", "git", "grep", "mktemp", "rm", "sed")
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PASSWORD = "a-password-for-twelve-hours"
HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A checkout to release from, and a PATH with the fake commands and the tools that the script needs."""

    checkout: Path
    programs: Path
    folder: Path

    def run(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"} | variables
        command = [str(self.checkout / "build_and_push.sh"), *options]
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)

    def change(self, **changes: Any) -> None:
        path = self.folder / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def state(self) -> dict[str, Any]:
        return json.loads((self.folder / "state.json").read_text())

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def steps(self) -> list[str]:
        """Each call by its program and operation."""
        return [" ".join(words[: 2 if words[1] in {"version", "push", "login"} else 3]) for words in self.calls()]

    def commit(self) -> str:
        git = ("git", "-C", str(self.checkout))
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


Released = tuple[Workspace, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one commit: the script and the file with the version."""
    folder = tmp_path_factory.mktemp("release") / "checkout"
    package = folder / "src" / "inpaint_server"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A package."""\n\n__version__ = "1.2.3"\n')
    shutil.copy(ROOT / "build_and_push.sh", folder)
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@example.com",
        "-c",
        "commit.gpgsign=false",
    ]
    for words in (["init", "--quiet", "--template="], ["add", "--all"], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*git, *words], check=True)
    return folder


@pytest.fixture
def workspace(checkout: Path, tmp_path: Path) -> Workspace:
    return set_up(checkout, tmp_path)


@pytest.fixture(scope="module")
def released(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A first release, shared by the tests that only read it."""
    workspace = set_up(checkout, tmp_path_factory.mktemp("released"))
    return workspace, workspace.run("--repository", "team/adverts", "--base-image", "my base:1")


def set_up(checkout: Path, tmp_path: Path) -> Workspace:
    """A workspace with a copy of the checkout, and an empty account."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(shutil.which(tool) or pytest.fail(f"these tests need {tool}"))
    (programs / "env").symlink_to("/usr/bin/env")
    for name in ("docker", "aws"):
        program = programs / name
        program.write_text(f"#!{sys.executable} -IS\n" + (Path(__file__).parent / "fake_commands.py").read_text())
        program.chmod(0o755)
    state = {
        "engine": True,
        "buildx": True,
        "builds": True,
        "credentials": True,
        "account": "123456789012",
        "profile_region": "eu-west-1",
        "denied": "",
        "password": PASSWORD,
        "repositories": {},
        "images": {},
        "pushes_as": DOCKER_MANIFEST,
        "built": "",
        "logged_in": "",
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    return Workspace(
        checkout=Path(shutil.copytree(checkout, tmp_path / "checkout")), programs=programs, folder=tmp_path
    )


def test_first_run_creates_repository_pushes_and_prints_uri(released: Released):
    workspace, done = released
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{HOST}/team/adverts:1.2.3-{workspace.commit()[:12]}\n"
    assert workspace.steps() == [
        "docker version",
        "docker buildx version",
        "aws configure get",
        "aws sts get-caller-identity",
        "aws ecr describe-repositories",
        "aws ecr create-repository",
        "aws ecr put-lifecycle-policy",
        "aws ecr describe-images",
        "aws ecr get-login-password",
        "docker login",
        "docker buildx build",
        "docker push",
        "aws ecr describe-images",
    ]


def test_repository_has_scanning_immutable_tags_and_expiry(released: Released):
    workspace, _ = released
    repository = workspace.state()["repositories"]["team/adverts"]
    assert (repository["mutability"], repository["scanning"]) == ("IMMUTABLE", "scanOnPush=true")
    (rule,) = repository["policy"]["rules"]
    assert (rule["selection"]["tagStatus"], rule["action"]) == ("untagged", {"type": "expire"})


def test_second_run_changes_nothing(workspace: Workspace):
    first = workspace.run()
    before, state = len(workspace.calls()), workspace.state()
    second = workspace.run()
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert "there already" in second.stderr
    assert workspace.state() == state
    assert {step.rpartition(" ")[2] for step in workspace.steps()[before:]}.isdisjoint({"build", "push", "login"})


def test_existing_repository_is_unchanged(workspace: Workspace):
    workspace.change(repositories={"inpaint-server": {"policy": "somebody's"}})
    assert workspace.run().returncode == 0
    assert workspace.state()["repositories"] == {"inpaint-server": {"policy": "somebody's"}}


def test_build_has_platform_version_and_revision(released: Released):
    workspace, _ = released
    (build,) = (words for words in workspace.calls() if words[:3] == ["docker", "buildx", "build"])
    arguments = dict(value.split("=", 1) for name, value in pairwise(build) if name == "--build-arg")
    assert int(arguments.pop("SOURCE_DATE_EPOCH")) > 1_700_000_000
    assert arguments == {"VERSION": "1.2.3", "REVISION": workspace.commit(), "BASE_IMAGE": "my base:1"}
    assert build[build.index("--platform") + 1] == "linux/amd64"
    assert {"--provenance=false", "--sbom=false", "type=docker,oci-mediatypes=false"} <= set(build)
    assert build[-1] == str(workspace.checkout)


def test_password_is_passed_on_stdin(released: Released):
    workspace, _ = released
    assert workspace.state()["logged_in"] == HOST
    assert PASSWORD not in (workspace.folder / "calls.jsonl").read_text()


@pytest.mark.parametrize(
    ("region", "domain"),
    [("cn-north-1", "amazonaws.com.cn"), ("us-gov-west-1", "amazonaws.com")],
)
def test_registry_host_by_partition(workspace: Workspace, region: str, domain: str):
    done = workspace.run("--region", region)
    host = f"123456789012.dkr.ecr.{region}.{domain}"
    assert done.stdout.startswith(f"{host}/inpaint-server:")
    assert workspace.state()["logged_in"] == host


def test_region_from_option_environment_or_profile(workspace: Workspace):
    answers = [
        workspace.run("--dry-run", "--region", "ap-south-1", AWS_REGION="us-east-2", AWS_DEFAULT_REGION="us-west-2"),
        workspace.run("--dry-run", AWS_REGION="us-east-2", AWS_DEFAULT_REGION="us-west-2"),
        workspace.run("--dry-run", AWS_DEFAULT_REGION="us-west-2"),
    ]
    regions = [set(re.findall(r"--region (\S+)", answer.stdout)) for answer in answers]
    assert regions == [{"ap-south-1"}, {"us-east-2"}, {"us-west-2"}]
    workspace.change(profile_region="eu-central-1")
    assert ".eu-central-1." in workspace.run().stdout


@pytest.mark.parametrize("tool", ["docker", "aws", "git"])
def test_missing_program_is_named(workspace: Workspace, tool: str):
    (workspace.programs / tool).unlink()
    done = workspace.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tool} is not installed: install " in done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"engine": False}, "Docker's engine does not answer: start it"),
        ({"buildx": False}, "Docker has no buildx: install"),
        ({"credentials": False}, "AWS accepts no credentials: log in"),
        ({"profile_region": ""}, "No AWS region is set: give --region"),
        ({"denied": "describe-repositories"}, "ECR refuses 'aws ecr describe-repositories'"),
        ({"denied": "describe-images"}, "ECR refuses 'aws ecr describe-images'"),
        ({"denied": "get-login-password"}, "ECR refuses 'aws ecr get-login-password'"),
        ({"password": "another"}, "Docker cannot log in to"),
    ],
)
def test_problem_is_reported_before_build(workspace: Workspace, changes: dict[str, Any], sentence: str):
    workspace.change(**changes)
    done = workspace.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr.splitlines()[-1]
    assert "docker buildx build" not in workspace.steps()


def test_denied_lookup_creates_no_repository(workspace: Workspace):
    workspace.change(denied="describe-repositories")
    workspace.run()
    assert workspace.state()["repositories"] == {}


def test_failed_build_pushes_nothing(workspace: Workspace):
    workspace.change(builds=False)
    done = workspace.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert "The build failed" in done.stderr
    assert "docker push" not in workspace.steps()


def test_oci_manifest_is_refused_on_every_run(workspace: Workspace):
    workspace.change(pushes_as=OCI_MANIFEST)
    for _ in range(2):
        done = workspace.run()
        assert (done.returncode, done.stdout) == (1, "")
        assert OCI_MANIFEST in done.stderr
        assert "aws ecr batch-delete-image --region eu-west-1" in done.stderr
    assert workspace.steps().count("docker push") == 1


@pytest.mark.parametrize("dirt", ["src/inpaint_server/__init__.py", "new.txt"])
def test_dirty_checkout_is_refused(workspace: Workspace, dirt: str):
    with (workspace.checkout / dirt).open("a") as file:
        file.write("\n")
    done = workspace.run()
    assert (done.returncode, done.stdout, workspace.calls()) == (1, "", [])
    assert "--allow-dirty" in done.stderr


def test_dirty_image_has_dirty_tag_and_revision(workspace: Workspace):
    (workspace.checkout / "new.txt").touch()
    done = workspace.run("--allow-dirty")
    assert re.search(rf":1\.2\.3-{workspace.commit()[:12]}-dirty\.\d{{8}}T\d{{6}}Z$", done.stdout.strip())
    (build,) = (words for words in workspace.calls() if words[:3] == ["docker", "buildx", "build"])
    assert f"REVISION={workspace.commit()}-dirty" in build


def test_checkout_without_commit_is_refused(workspace: Workspace):
    shutil.rmtree(workspace.checkout / ".git")
    done = workspace.run(GIT_CEILING_DIRECTORIES=str(workspace.folder))
    assert done.returncode == 1
    assert "is no git checkout with a commit" in done.stderr


def test_dry_run_prints_calls_without_calling(workspace: Workspace):
    options = ("--region", "eu-west-1", "--base-image", "it's mine")
    assert workspace.run(*options).returncode == 0
    called = [words for words in workspace.calls() if words[1] != "version" and words[2:] != ["version"]]
    for name in ("docker", "aws", "calls.jsonl"):
        next(workspace.folder.rglob(name)).unlink()
    printed = workspace.run(*options, "--dry-run")
    assert (printed.returncode, workspace.calls()) == (0, [])
    lines = [line for text in printed.stdout.splitlines() for line in text.replace("REGISTRY", HOST).split(" | ")]
    assert sorted(map(shlex.split, lines)) == sorted(called)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--push"], "there is no option '--push'"),
        (["--region"], "--region needs a value"),
        (["--repository", "--dry-run"], "--repository needs a value"),
    ],
)
def test_wrong_option_is_named(workspace: Workspace, options: list[str], sentence: str):
    done = workspace.run(*options)
    assert (done.returncode, done.stdout, workspace.calls()) == (2, "", [])
    assert sentence in done.stderr


def test_help_needs_nothing(workspace: Workspace):
    done = workspace.run("--help")
    assert done.returncode == 0
    assert {"--repository", "--region", "--base-image", "--allow-dirty", "--dry-run"} <= set(done.stdout.split())


def test_scripts_pass_shellcheck():
    """About every shell script of the project."""
    scripts = [
        *ROOT.glob("*.sh"),
        *(ROOT / "scripts").glob("*.sh"),
        *(ROOT / "container").glob("*.sh"),
        ROOT / ".ci/run",
    ]
    assert len(scripts) >= 3
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
