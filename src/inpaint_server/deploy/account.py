"""One AWS account and region: its clients, the resources of a deployment, and errors as one sentence."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, Literal, cast

from inpaint_server.deploy.deployment import TAG, CannotDeploy

Kind = Literal["model", "endpoint_config", "endpoint", "transform_job"]

_LISTS: Final[dict[Kind, tuple[str, str, str]]] = {
    "model": ("list_models", "Models", "Model"),
    "endpoint_config": ("list_endpoint_configs", "EndpointConfigs", "EndpointConfig"),
    "endpoint": ("list_endpoints", "Endpoints", "Endpoint"),
    "transform_job": ("list_transform_jobs", "TransformJobSummaries", "TransformJob"),
}
_RUNTIME_TIMEOUT_S: Final = 70  # the platform gives an invocation 60


class Account:
    """boto3's clients, which publish no types; each is created at its first use.

    Args:
        session: boto3's, with credentials and region.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    @cached_property
    def sagemaker(self) -> Any:
        """Models, endpoints, jobs."""
        return self._session.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:
        """Requests to endpoints."""
        from botocore.config import Config

        # A read that times out must not be sent again: the first one may still be running.
        once = Config(read_timeout=_RUNTIME_TIMEOUT_S, retries={"max_attempts": 0})
        return self._session.client("sagemaker-runtime", config=once)

    @cached_property
    def autoscaling(self) -> Any:
        """The number of instances."""
        return self._session.client("application-autoscaling")

    @cached_property
    def cloudwatch(self) -> Any:
        """Alarms."""
        return self._session.client("cloudwatch")

    @cached_property
    def s3(self) -> Any:
        """Requests and answers of an asynchronous endpoint."""
        return self._session.client("s3")


def connect(region: str | None) -> Account:
    """The account that AWS's own configuration names, in a region or the one configured.

    Raises:
        CannotDeploy: boto3 is not installed.
    """
    try:
        import boto3
    except ModuleNotFoundError:
        raise CannotDeploy("Install boto3 (pip install 'inpaint-server[aws]') to deploy.") from None
    return Account(cast("Any", boto3).Session(region_name=region))


@contextmanager
def one_sentence() -> Generator[None]:
    """Translate AWS's errors to `CannotDeploy`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        refused = cast("Any", error)
        refusal = refused.response.get("Error", {})
        raise CannotDeploy(
            f"AWS refuses {refused.operation_name} ({refusal.get('Code')}): {refusal.get('Message')} "
            "Change that, or check that your role may do it."
        ) from None
    except BotoCoreError as error:
        raise CannotDeploy(
            f"AWS cannot be reached: {error} Check credentials, region (--region, AWS_DEFAULT_REGION) and network."
        ) from None


def find(account: Account, kind: Kind, name: str) -> dict[str, Any] | None:
    """A resource as AWS describes it, or nothing if there is none of that name."""
    from botocore.exceptions import ClientError

    describe = getattr(account.sagemaker, f"describe_{kind}")
    try:
        return describe(**{f"{_LISTS[kind][2]}Name": name})
    except ClientError as error:
        if _is_absent(cast("Any", error).response["Error"]):
            return None
        raise


def belongs(account: Account, arn: str, name: str) -> bool:
    """Whether a resource carries the deployment's tag."""
    pages = account.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {"Key": TAG, "Value": name} in [tag for page in pages for tag in page["Tags"]]


def names_with_tag(account: Account, kind: Kind, name: str) -> list[str]:
    """The names of a deployment's resources of one kind, by its tag."""
    operation, items, word = _LISTS[kind]
    pages = account.sagemaker.get_paginator(operation).paginate(NameContains=name)
    return [
        item[f"{word}Name"]
        for page in pages
        for item in page[items]
        if item[f"{word}Name"].startswith(name) and belongs(account, item[f"{word}Arn"], name)
    ]


def _is_absent(error: dict[str, str]) -> bool:
    return error["Code"] in {"ValidationException", "ResourceNotFound"} and "Could not find" in error["Message"]
