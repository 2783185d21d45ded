"""Creating, showing and deleting a deployment. Every step can be repeated: what exists is left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from inpaint_server.deploy import requests, scaling
from inpaint_server.deploy.account import Account, Kind, belongs, find, names_with_tag
from inpaint_server.deploy.deployment import TAG, CannotDeploy, Catalogue, Container, Fleet


def make_real_time(account: Account, container: Container, fleet: Fleet) -> None:
    """An endpoint that answers at once, scaled by the requests inside it.

    Raises:
        CannotDeploy: the endpoint does not start, or its name is taken by another endpoint.
    """
    if fleet.minimum < 1:
        raise CannotDeploy("Give a minimum of 1 or more: only an asynchronous endpoint scales to zero.")
    _make_endpoint(account, container, fleet, requests.real_time_environment(), answers=None)
    account.autoscaling.register_scalable_target(**scaling.target(container.name, fleet))
    account.autoscaling.put_scaling_policy(**scaling.concurrency_policy(container.name, fleet))


def make_asynchronous(account: Account, container: Container, fleet: Fleet, answers: str) -> None:
    """An endpoint that takes requests from S3 and leaves answers there, scaled by what waits, down to nothing.

    Raises:
        CannotDeploy: the endpoint does not start, or its name is taken by another endpoint.
    """
    _make_endpoint(account, container, fleet, requests.patient_environment(), answers=answers)
    account.autoscaling.register_scalable_target(**scaling.target(container.name, fleet))
    account.autoscaling.put_scaling_policy(**scaling.backlog_policy(container.name, fleet))
    woken = account.autoscaling.put_scaling_policy(**scaling.wake_policy(container.name))
    account.cloudwatch.put_metric_alarm(**scaling.wake_alarm(container.name, woken["PolicyARN"]))


def start_batch(account: Account, container: Container, catalogue: Catalogue) -> str:
    """Start a Batch Transform job; its name. It ends, and its instances with it, when the last line is answered.

    Raises:
        CannotDeploy: the weights are not one archive.
    """
    requests.require_archive(container)
    model = _make(account, "model", requests.model(container, requests.patient_environment()))
    job = requests.transform_job(container.name, model, catalogue, datetime.now(UTC))
    account.sagemaker.create_transform_job(**job)
    return job["TransformJobName"]


def status(account: Account, name: str) -> Iterator[str]:
    """A deployment's resources and their state, line by line.

    Raises:
        CannotDeploy: there is nothing of that name.
    """
    lines = [*_endpoint_status(account, name), *_job_status(account, name)]
    if not lines:
        raise CannotDeploy(f"Check the name and the region: there is no deployment {name}.")
    yield from lines


def delete(account: Account, name: str) -> Iterator[str]:
    """Remove everything that carries the deployment's tag, and nothing else; what was removed, line by line.

    Weights, answers, images, roles and logs were not created here and stay.
    """
    if names_with_tag(account, "endpoint", name):
        yield from _stop_scaling(account, name)
        account.sagemaker.delete_endpoint(EndpointName=name)
        account.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)
        yield f"endpoint {name}"
    for job in _running_jobs(account, name):
        account.sagemaker.stop_transform_job(TransformJobName=job)
        account.sagemaker.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=job)
        yield f"transform job {job}: stopped; its record and the lines it answered stay"
    yield from _delete_unused(account, name, keep=frozenset())


def _make_endpoint(
    account: Account, container: Container, fleet: Fleet, environment: Mapping[str, str], *, answers: str | None
) -> None:
    name = container.name
    present = find(account, "endpoint", name)
    if present is not None and not belongs(account, present["EndpointArn"], name):
        raise CannotDeploy(f"Choose another name: the endpoint {name} was not created by this command.")
    model = _make(account, "model", requests.model(container, environment))
    config = _make(account, "endpoint_config", requests.endpoint_config(name, model, fleet, answers))
    if present is None:
        account.sagemaker.create_endpoint(**requests.endpoint(name, config))
    elif present["EndpointConfigName"] != config:
        # The old instances serve until as many new ones answer.
        account.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, RetainAllVariantProperties=True)
    _wait_until_in_service(account, name, config)
    for _ in _delete_unused(account, name, keep={model, config, *_running_jobs(account, name).values()}):
        pass


def _make(account: Account, kind: Kind, request: dict[str, Any]) -> str:
    """Create a resource unless it exists; its name."""
    [name] = [value for key, value in request.items() if key in {"ModelName", "EndpointConfigName"}]
    if find(account, kind, name) is None:
        getattr(account.sagemaker, f"create_{kind}")(**request)
    return name


def _wait_until_in_service(account: Account, name: str, config: str) -> None:
    """Wait until it is in service; so is an endpoint whose update failed, with the configuration from before."""
    from botocore.exceptions import WaiterError

    with suppress(WaiterError):
        account.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    found = find(account, "endpoint", name) or {}
    if found.get("EndpointStatus") != "InService" or found["EndpointConfigName"] != config:
        reason = found.get("FailureReason") or "No reason is given."
        raise CannotDeploy(
            f"The endpoint {name} does not serve {config}: {reason} Its log group /aws/sagemaker/Endpoints/{name} has "
            f"more; `inpaint-server deploy delete {name}` removes everything."
        )


def _running_jobs(account: Account, name: str) -> dict[str, str]:
    """The deployment's transform jobs in progress, and the model that each works with."""
    jobs = {job: find(account, "transform_job", job) or {} for job in names_with_tag(account, "transform_job", name)}
    return {name: job["ModelName"] for name, job in jobs.items() if job.get("TransformJobStatus") == "InProgress"}


def _stop_scaling(account: Account, name: str) -> Iterator[str]:
    """Remove what `scaling` describes. Each step alone: a deployment may have stopped half-way."""
    resource = scaling.resource(name)
    for policy in account.autoscaling.describe_scaling_policies(
        ServiceNamespace=scaling.NAMESPACE, ResourceId=resource["ResourceId"]
    )["ScalingPolicies"]:
        account.autoscaling.delete_scaling_policy(**resource, PolicyName=policy["PolicyName"])
        yield f"scaling policy {policy['PolicyName']}"
    if _scalable_targets(account, name):
        account.autoscaling.deregister_scalable_target(**resource)
        yield f"scalable target {resource['ResourceId']}"
    for alarm in account.cloudwatch.describe_alarms(AlarmNames=[scaling.alarm_name(name)])["MetricAlarms"]:
        tags = account.cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        if {"Key": TAG, "Value": name} in tags:
            account.cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"]])
            yield f"alarm {alarm['AlarmName']}"


def _scalable_targets(account: Account, name: str) -> list[dict[str, Any]]:
    return account.autoscaling.describe_scalable_targets(
        ServiceNamespace=scaling.NAMESPACE, ResourceIds=[scaling.resource(name)["ResourceId"]]
    )["ScalableTargets"]


def _delete_unused(account: Account, name: str, keep: AbstractSet[str]) -> Iterator[str]:
    """Remove the deployment's configurations and models but those to keep."""
    for config in names_with_tag(account, "endpoint_config", name):
        if config not in keep:
            account.sagemaker.delete_endpoint_config(EndpointConfigName=config)
            yield f"endpoint configuration {config}"
    for model in names_with_tag(account, "model", name):
        if model not in keep:
            account.sagemaker.delete_model(ModelName=model)
            yield f"model {model}"


def _endpoint_status(account: Account, name: str) -> Iterator[str]:
    endpoint = find(account, "endpoint", name)
    if endpoint is None:
        return
    config = find(account, "endpoint_config", endpoint["EndpointConfigName"]) or {}
    yield f"endpoint {name}: {endpoint['EndpointStatus']} {endpoint.get('FailureReason') or ''}".rstrip()
    yield f"  kind: {'asynchronous' if config.get('AsyncInferenceConfig') else 'real-time'}"
    for variant in endpoint.get("ProductionVariants", []):
        counts = f"{variant.get('CurrentInstanceCount', 0)} of {variant.get('DesiredInstanceCount', 0)} wanted"
        yield f"  instances: {counts}"
    for target in _scalable_targets(account, name):
        yield f"  scales: from {target['MinCapacity']} to {target['MaxCapacity']}"
    for variant in config.get("ProductionVariants", []):
        model = find(account, "model", variant["ModelName"]) or {}
        yield f"  on: {variant['InstanceType']}"
        yield f"  image: {model.get('PrimaryContainer', {}).get('Image', 'unknown')}"


def _job_status(account: Account, name: str) -> Iterator[str]:
    for job in names_with_tag(account, "transform_job", name):
        found = find(account, "transform_job", job) or {}
        yield f"transform job {job}: {found.get('TransformJobStatus')} {found.get('FailureReason') or ''}".rstrip()
        yield f"  answers: {found.get('TransformOutput', {}).get('S3OutputPath')}"
