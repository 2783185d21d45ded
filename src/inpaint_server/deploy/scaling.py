"""Autoscaling's requests, as plain data: the platform's own loop decides how many instances there are."""

from __future__ import annotations

from typing import Any, Final

from inpaint_server.deploy.deployment import Fleet
from inpaint_server.deploy.requests import VARIANT, tags

Request = dict[str, Any]

NAMESPACE: Final = "sagemaker"
DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
SCALE_OUT_COOLDOWN_S: Final = 60
SCALE_IN_COOLDOWN_S: Final = 600
"""An instance takes minutes to start, so a short pause does not remove it."""


def resource(name: str) -> Request:
    """The scalable target: the endpoint's only variant."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": f"endpoint/{name}/variant/{VARIANT}",
        "ScalableDimension": DIMENSION,
    }


def target(name: str, fleet: Fleet) -> Request:
    """RegisterScalableTarget."""
    return {**resource(name), "MinCapacity": fleet.minimum, "MaxCapacity": fleet.maximum}


def concurrency_policy(name: str, fleet: Fleet) -> Request:
    """PutScalingPolicy of a real-time endpoint: requests inside one instance, measured every ten seconds.

    Concurrency and not invocations a minute: an advert's duration varies tenfold with its request.
    """
    metric = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
    return _tracking(name, fleet, {"PredefinedMetricSpecification": metric})


def backlog_policy(name: str, fleet: Fleet) -> Request:
    """PutScalingPolicy of an asynchronous endpoint: requests waiting for each instance; without any, down to zero."""
    metric = {
        "Namespace": "AWS/SageMaker",
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
    }
    return _tracking(name, fleet, {"CustomizedMetricSpecification": metric})


def wake_policy(name: str) -> Request:
    """PutScalingPolicy that starts the first instance: with none, the backlog of each instance is not a number."""
    return {
        **resource(name),
        "PolicyName": f"{name}-wake",
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": 300,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    }


def wake_alarm(name: str, policy_arn: str) -> Request:
    """PutMetricAlarm that calls `wake_policy`: something waits and there is no instance."""
    return {
        "AlarmName": alarm_name(name),
        "AlarmActions": [policy_arn],
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "Tags": tags(name),
    }


def alarm_name(name: str) -> str:
    """The alarm's, which is not found by the endpoint's."""
    return f"{name}-wake"


def _tracking(name: str, fleet: Fleet, metric: Request) -> Request:
    return {
        **resource(name),
        "PolicyName": f"{name}-track",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": fleet.target,
            **metric,
            "ScaleOutCooldown": SCALE_OUT_COOLDOWN_S,
            "ScaleInCooldown": SCALE_IN_COOLDOWN_S,
        },
    }
