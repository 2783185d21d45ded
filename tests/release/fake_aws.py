"""An AWS account in this process: moto, and what a deployment needs beyond it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import botocore.session
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig, sagemaker_backends

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/inpaint-server"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/inpaint-server:0.1.0-66e5ef0b075e"
ROLLED_BACK: list[str] = []
"""Not empty: an update fails, and the endpoint serves with the configuration from before."""
SAGEMAKER: Any = botocore.session.get_session().get_service_model("sagemaker")
INSTANCE_TYPES = frozenset(SAGEMAKER.shape_for("ProductionVariantInstanceType").enum)


@contextmanager
def account(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """An empty account; every AWS client in this process talks to it."""
    configure(monkeypatch)
    monkeypatch.setattr(FakeEndpointConfig, "validate_instance_type", _validate_instance_type)
    with mock_aws():
        monkeypatch.setattr(BaseClient, "_make_api_call", _with_more_operations(BaseClient._make_api_call))
        yield


def configure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invalid credentials, and the region."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


def _validate_instance_type(_: FakeEndpointConfig, instance_type: str) -> None:
    """moto's own list ends before the G5; botocore's is AWS's."""
    if instance_type not in INSTANCE_TYPES:
        raise ValidationError(message=f"Value '{instance_type}' at 'instanceType' is not known.")


def _with_more_operations(call: Any) -> Any:
    """moto cannot change an endpoint's configuration, nor stop a job."""

    def make_api_call(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        backend = sagemaker_backends[ACCOUNT][REGION]
        if operation == "UpdateEndpoint":
            backend.describe_endpoint_config(parameters["EndpointConfigName"])
            if not ROLLED_BACK:
                backend.endpoints[parameters["EndpointName"]].endpoint_config_name = parameters["EndpointConfigName"]
            return {}
        if operation == "StopTransformJob":
            backend.transform_jobs[parameters["TransformJobName"]].transform_job_status = "Stopped"
            return {}
        return call(self, operation, parameters)

    return make_api_call
