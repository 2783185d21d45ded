"""The CloudFormation templates: valid by AWS's own schemas, and the same deployment as the command's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from inpaint_server.deploy import requests, scaling
from inpaint_server.deploy.deployment import Container, Fleet
from tests.release import fake_aws

FOLDER = Path(__file__).parents[2] / "infrastructure"
TEMPLATES = sorted(FOLDER.glob("*.yaml"))
PSEUDO = {
    "AWS::AccountId": fake_aws.ACCOUNT,
    "AWS::Region": fake_aws.REGION,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::Partition": "aws",
    "AWS::StackName": "adverts",
}
PARAMETERS = {
    **PSEUDO,
    "Role": fake_aws.ROLE,
    "Tag": fake_aws.IMAGE.rpartition(":")[2],
    "Bucket": "weights",
    "Weights": "bundles/1/",
    "Target": 5,
}
MODEL = "adverts-model"
ATTRIBUTES = {
    "Model.ModelName": MODEL,
    "EndpointConfig.EndpointConfigName": "adverts-config",
    "Endpoint.EndpointName": "adverts",
}


class Absent:
    """AWS::NoValue: the property is absent."""


class Stack:
    """A template with its parameters, its functions evaluated: as much of CloudFormation as the templates use."""

    def __init__(self, name: str, **parameters: Any) -> None:
        template, problems = decode(str(FOLDER / name))
        assert template is not None, problems
        self._template = template
        defaults = {
            name: parameter["Default"] for name, parameter in template["Parameters"].items() if "Default" in parameter
        }
        self._values = defaults | PARAMETERS | parameters

    def properties(self, name: str) -> dict[str, Any]:
        return self._resolve(self._template["Resources"][name]["Properties"])

    def resources(self) -> dict[str, dict[str, Any]]:
        """The properties of every resource that the stack creates."""
        return {name: self.properties(name) for name in self._template["Resources"] if self._has(name)}

    def _has(self, name: str) -> bool:
        condition = self._template["Resources"][name].get("Condition")
        return condition is None or self._holds(condition)

    def _holds(self, condition: str) -> bool:
        left, right = self._template["Conditions"][condition]["Fn::Equals"]
        return self._resolve(left) == self._resolve(right)

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._resolve(item) for item in node]  # pyright: ignore[reportUnknownVariableType] - YAML
        if not isinstance(node, dict):
            return node
        resolved: dict[str, Any] = {}
        for key, value in node.items():  # pyright: ignore[reportUnknownVariableType] - YAML
            if key == "Ref" or key.startswith("Fn::"):
                return self._call(key, value)
            resolved[key] = self._resolve(value)
        return {key: value for key, value in resolved.items() if value is not Absent}

    def _call(self, function: str, argument: Any) -> Any:
        match function, argument:
            case "Ref", "AWS::NoValue":
                return Absent
            case "Ref", name:
                return self._values.get(name, f"<{name}>")
            case "Fn::GetAtt", [name, attribute]:
                return ATTRIBUTES[f"{name}.{attribute}"]
            case "Fn::Sub", text:
                return re.sub(r"\$\{([\w:.]+)\}", lambda found: str((ATTRIBUTES | self._values)[found[1]]), text)
            case "Fn::If", [condition, then, otherwise]:
                return self._resolve(then if self._holds(condition) else otherwise)
            case _:
                raise AssertionError(f"unsupported function {function}")


def container() -> Container:
    return Container(name="adverts", image=fake_aws.IMAGE, weights="s3://weights/bundles/1/", role=fake_aws.ROLE)


def without(request: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in {"Tags", *names}}


def test_templates_pass_linter():
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, *TEMPLATES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("kind", ["real-time", "asynchronous"])
def test_template_and_command_deploy_equal_resources(kind: str):
    """Every property of every resource, but for tags: a stack tags its resources itself."""
    stack = Stack("endpoint.yaml", Kind=kind)
    is_async = kind == "asynchronous"
    environment = requests.patient_environment() if is_async else requests.real_time_environment()
    fleet = Fleet(minimum=0 if is_async else 1, target=5)
    answers = "s3://weights/adverts/" if is_async else None
    policy = scaling.backlog_policy if is_async else scaling.concurrency_policy
    by_the_command = {
        "Model": without(requests.model(container(), environment), "ModelName"),
        "EndpointConfig": without(requests.endpoint_config("adverts", MODEL, fleet, answers), "EndpointConfigName"),
        # The command requests the same with each UpdateEndpoint.
        "Endpoint": {
            **without(requests.endpoint("adverts", "adverts-config")),
            "RetainAllVariantProperties": True,
        },
        "ScalableTarget": scaling.target("adverts", fleet),
        "TrackPolicy": scaling_policy(policy("adverts", fleet)),
    }
    if is_async:
        by_the_command["WakePolicy"] = scaling_policy(scaling.wake_policy("adverts"))
        by_the_command["WakeAlarm"] = without(scaling.wake_alarm("adverts", "<WakePolicy>"))
    assert stack.resources() == by_the_command


def scaling_policy(request: dict[str, Any]) -> dict[str, Any]:
    """A policy as in a template, with its target's id in place of the target's properties."""
    return {**without(request, *scaling.resource("adverts")), "ScalingTargetId": "<ScalableTarget>"}


def test_archive_weights_in_template():
    stack = Stack("endpoint.yaml", Weights="bundles/1.tar.gz", WeightsFormat="archive")
    model = stack.properties("Model")["PrimaryContainer"]
    assert model["ModelDataUrl"] == "s3://weights/bundles/1.tar.gz"
    assert "ModelDataSource" not in model


def test_role_has_minimal_permissions():
    role = Stack("role.yaml").properties("Role")
    statements = {statement["Sid"]: statement for statement in role["Policies"][0]["PolicyDocument"]["Statement"]}
    everywhere = {sid for sid, statement in statements.items() if statement["Resource"] == "*"}
    assert everywhere == {"LogInToRegistry", "WriteMetrics"}  # the two actions that know no resource
    actions = [statement["Action"] for statement in statements.values()]
    assert not [action for action in actions if "*" in action], "every action by its name"
    assert statements["WriteAnswers"]["Resource"] == [
        "arn:aws:s3:::weights/*/answers/*",
        "arn:aws:s3:::weights/*/failures/*",
    ]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": fake_aws.ACCOUNT}}
