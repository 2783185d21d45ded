"""SageMaker's requests for each kind of deployment, as plain data.

A model's and a configuration's name ends in a digest of everything else in the request: the same decision has the same
name, so that asking twice makes nothing twice, and a new decision stands beside the old one until it serves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from inpaint_server.deploy.deployment import TAG, CannotDeploy, Catalogue, Container, Fleet

Request = dict[str, Any]

VARIANT: Final = "all"
GPU_AMI: Final = "al2-ami-sagemaker-inference-gpu-3-1"
"""NVIDIA driver 550; the default of ml.g5 is older than the CUDA 12 in the image."""
BATCH_GPU_AMI: Final = "al2-ami-sagemaker-batch-gpu-535"
DOWNLOAD_TIMEOUT_S: Final = 900
"""5 GB at 6 MB/s; buckets of the same region give ten times as much."""
STARTUP_TIMEOUT_S: Final = 900
"""From the container's start to its first /ping that is 200; INPAINT_START_TIMEOUT_S is as long."""
CONCURRENT_INVOCATIONS: Final = 8
"""As many as INPAINT_MAX_BATCH: so many pictures share one call of the UNet."""
REAL_TIME_TIMEOUT_S: Final = 60
"""After which a real-time endpoint abandons a request; the default of INPAINT_DEADLINE_S ends before."""
INVOCATION_TIMEOUT_S: Final = 900
"""Of an asynchronous request; the platform allows up to 3,600."""
_ANSWER_MARGIN_S: Final = 60

JSON_LINES: Final = "application/jsonlines"
LINE_MB: Final = 6
"""The longest line of a catalogue; sixteen of them in flight are just below the platform's 100 MB."""
LINES_IN_FLIGHT: Final = 16
"""Two batches of pictures: one on the device, one being decoded or encoded; within INPAINT_QUEUE."""


def real_time_environment() -> Mapping[str, str]:
    """The server's defaults are meant for this kind."""
    return {}


def patient_environment() -> Mapping[str, str]:
    """For asynchronous and batch work: the deadline is just below the platform's timeout."""
    return {"INPAINT_DEADLINE_S": str(INVOCATION_TIMEOUT_S - _ANSWER_MARGIN_S)}


def model(container: Container, environment: Mapping[str, str]) -> Request:
    """CreateModel.

    Args:
        container: What runs.
        environment: What the kind of deployment sets; the container's own settings win.
    """
    source = {"S3Uri": container.weights, "S3DataType": "S3Prefix", "CompressionType": "None"}
    weights: Request = (
        {"ModelDataUrl": container.weights}
        if container.is_archive
        else {"ModelDataSource": {"S3DataSource": source}}  # file by file: nothing is unpacked, and a start is sooner
    )
    request: Request = {
        "ExecutionRoleArn": container.role,
        "PrimaryContainer": {
            "Image": container.image,
            "Environment": {**environment, **container.environment},
            **weights,
        },
        "EnableNetworkIsolation": True,  # the server fetches nothing, so nothing can be forced to
        "Tags": tags(container.name),
    }
    return {"ModelName": _digest_name(container.name, request), **request}


def endpoint_config(name: str, model_name: str, fleet: Fleet, answers: str | None) -> Request:
    """CreateEndpointConfig.

    Args:
        name: The deployment's.
        model_name: What `model` named.
        fleet: How many instances.
        answers: The S3 prefix of an asynchronous endpoint's answers; None: a real-time endpoint.
    """
    request: Request = {
        "ProductionVariants": [
            {
                "VariantName": VARIANT,
                "ModelName": model_name,
                "InstanceType": fleet.instance_type,
                "InitialInstanceCount": max(1, fleet.minimum),
                "InferenceAmiVersion": GPU_AMI,
                "ContainerStartupHealthCheckTimeoutInSeconds": STARTUP_TIMEOUT_S,
                "ModelDataDownloadTimeoutInSeconds": DOWNLOAD_TIMEOUT_S,
                # An advert takes seconds and one instance may be far behind another: never round robin.
                "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
            }
        ],
        "Tags": tags(name),
    }
    if answers is not None:
        prefix = answers.rstrip("/")
        request["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": CONCURRENT_INVOCATIONS},
            "OutputConfig": {"S3OutputPath": f"{prefix}/answers", "S3FailurePath": f"{prefix}/failures"},
        }
    return {"EndpointConfigName": _digest_name(name, request), **request}


def endpoint(name: str, config_name: str) -> Request:
    """CreateEndpoint."""
    return {"EndpointName": name, "EndpointConfigName": config_name, "Tags": tags(name)}


def transform_job(name: str, model_name: str, catalogue: Catalogue, now: datetime) -> Request:
    """CreateTransformJob: the file's lines go in one by one, and the answers are joined in their order.

    One line a request, although the server takes many: requests in flight share batches on the device all the same, no
    batch ends in a tail of one, a request that is lost costs one line, and no answer outgrows the front door's limit (a
    mini-batch of short lines, answered by a picture each, would).
    """
    return {
        "TransformJobName": f"{name}-{now:%Y%m%d-%H%M%S}",
        "ModelName": model_name,
        "BatchStrategy": "SingleRecord",
        "MaxPayloadInMB": LINE_MB,
        "MaxConcurrentTransforms": LINES_IN_FLIGHT,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": INVOCATION_TIMEOUT_S, "InvocationsMaxRetries": 3},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": catalogue.requests}},
            "ContentType": JSON_LINES,
            "SplitType": "Line",
            "CompressionType": "None",
        },
        "TransformOutput": {"S3OutputPath": catalogue.answers, "Accept": JSON_LINES, "AssembleWith": "Line"},
        "TransformResources": {
            "InstanceType": catalogue.instance_type,
            "InstanceCount": catalogue.instances,
            "TransformAmiVersion": BATCH_GPU_AMI,
        },
        "Tags": tags(name),
    }


def require_archive(container: Container) -> None:
    """Check that Batch Transform can have the weights.

    Raises:
        CannotDeploy: they are a prefix, which the platform refuses for this kind.
    """
    if not container.is_archive:
        raise CannotDeploy(
            "Batch Transform takes weights as one archive only: ship the bundle with "
            "`scripts/package_bundle.py archive` and give its s3://.../model.tar.gz."
        )


def tags(name: str) -> list[Request]:
    """The tag by which a deployment's resources are found."""
    return [{"Key": TAG, "Value": name}]


def _digest_name(name: str, request: Request) -> str:
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:12]}"
