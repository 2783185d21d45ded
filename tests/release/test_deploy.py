"""`inpaint-server deploy` against a mocked AWS: the resources that it creates, keeps and deletes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto.sagemaker.models import sagemaker_backends
from typer.testing import CliRunner

from inpaint_server.cli import app
from inpaint_server.deploy import lifecycle, requests
from inpaint_server.deploy.account import Account, connect, one_sentence
from inpaint_server.deploy.deployment import CannotDeploy, Catalogue, Container, Fleet
from inpaint_server.deploy.invoke import invoke
from inpaint_server.settings import Settings
from tests.release import fake_aws

PREFIX = "s3://weights/bundles/1/"
ARCHIVE = "s3://weights/bundles/1.tar.gz"
ANSWERS = "s3://weights/answers/"
SCALING: dict[str, str] = {"ServiceNamespace": "sagemaker"}


@pytest.fixture(scope="module")
def clients() -> Iterator[Account]:
    """Created once: this takes longer than a test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake_aws.configure(monkeypatch)
        yield connect(None)


@pytest.fixture
def account(clients: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with fake_aws.account(monkeypatch):
        clients.s3.create_bucket(Bucket="weights", CreateBucketConfiguration={"LocationConstraint": fake_aws.REGION})
        yield clients


def container(name: str = "adverts", **changes: Any) -> Container:
    given: dict[str, Any] = {"name": name, "image": fake_aws.IMAGE, "weights": PREFIX, "role": fake_aws.ROLE, **changes}
    return Container(**given)


def resources(account: Account) -> list[str]:
    """Every resource of the account that a deployment may create, except jobs, which cannot be deleted."""
    sagemaker, autoscaling = account.sagemaker, account.autoscaling
    return sorted(
        [
            *(f"model {item['ModelName']}" for item in sagemaker.list_models()["Models"]),
            *(f"config {item['EndpointConfigName']}" for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
            *(f"endpoint {item['EndpointName']}" for item in sagemaker.list_endpoints()["Endpoints"]),
            *(f"target {t['ResourceId']}" for t in autoscaling.describe_scalable_targets(**SCALING)["ScalableTargets"]),
            *(f"policy {p['PolicyName']}" for p in autoscaling.describe_scaling_policies(**SCALING)["ScalingPolicies"]),
            *(f"alarm {item['AlarmName']}" for item in account.cloudwatch.describe_alarms()["MetricAlarms"]),
            *(f"object {item['Key']}" for item in account.s3.list_objects_v2(Bucket="weights").get("Contents", [])),
        ]
    )


def config_of(account: Account, name: str) -> dict[str, Any]:
    name = account.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    return account.sagemaker.describe_endpoint_config(EndpointConfigName=name)


def model_of(account: Account, name: str) -> dict[str, Any]:
    return account.sagemaker.describe_model(ModelName=config_of(account, name)["ProductionVariants"][0]["ModelName"])


def test_real_time_endpoint_has_documented_resources(account: Account):
    lifecycle.make_real_time(account, container(environment={"INPAINT_QUEUE": "16"}), Fleet(maximum=3, target=5))
    model = model_of(account, "adverts")
    assert model["ExecutionRoleArn"] == fake_aws.ROLE
    assert model["PrimaryContainer"]["Image"] == fake_aws.IMAGE
    assert model["PrimaryContainer"]["Environment"] == {"INPAINT_QUEUE": "16"}
    assert model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": PREFIX,
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    [variant] = config_of(account, "adverts")["ProductionVariants"]
    assert variant == {
        "VariantName": "all",
        "ModelName": model["ModelName"],
        "InstanceType": "ml.g5.xlarge",
        "InitialInstanceCount": 1,
        "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-3-1",
        "ContainerStartupHealthCheckTimeoutInSeconds": 900,
        "ModelDataDownloadTimeoutInSeconds": 900,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }
    [target] = account.autoscaling.describe_scalable_targets(**SCALING)["ScalableTargets"]
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == (
        "endpoint/adverts/variant/all",
        1,
        3,
    )
    [policy] = account.autoscaling.describe_scaling_policies(**SCALING)["ScalingPolicies"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 5
    assert tracking["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    }


def test_platform_limits_match_settings():
    assert Settings().start_timeout_s <= requests.STARTUP_TIMEOUT_S
    assert Settings().max_batch <= requests.CONCURRENT_INVOCATIONS
    assert Settings().queue >= requests.LINES_IN_FLIGHT


def test_container_has_network_isolation():
    assert requests.model(container(), {})["EnableNetworkIsolation"] is True


def test_asynchronous_endpoint_scales_by_backlog_to_zero(account: Account):
    lifecycle.make_asynchronous(account, container(), Fleet(minimum=0, maximum=6, target=8), ANSWERS)
    config = config_of(account, "adverts")
    assert config["AsyncInferenceConfig"] == {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 8},
        "OutputConfig": {
            "S3OutputPath": "s3://weights/answers/answers",
            "S3FailurePath": "s3://weights/answers/failures",
        },
    }
    # The server gives up before the platform does, so that the caller gets the server's error.
    deadline = float(model_of(account, "adverts")["PrimaryContainer"]["Environment"]["INPAINT_DEADLINE_S"])
    assert 60 < deadline < requests.INVOCATION_TIMEOUT_S
    [target] = account.autoscaling.describe_scalable_targets(**SCALING)["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 6)
    track, wake = account.autoscaling.describe_scaling_policies(**SCALING)["ScalingPolicies"]
    metric = track["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    assert metric["MetricName"] == "ApproximateBacklogSizePerInstance"
    [alarm] = account.cloudwatch.describe_alarms()["MetricAlarms"]
    assert (alarm["MetricName"], alarm["AlarmActions"]) == ("HasBacklogWithoutCapacity", [wake["PolicyARN"]])
    assert alarm["Dimensions"] == metric["Dimensions"] == [{"Name": "EndpointName", "Value": "adverts"}]


def test_batch_job_splits_and_joins_lines(account: Account):
    catalogue = Catalogue(requests="s3://weights/in/spring.jsonl", answers=ANSWERS, instances=2)
    job = account.sagemaker.describe_transform_job(
        TransformJobName=lifecycle.start_batch(account, container(weights=ARCHIVE), catalogue)
    )
    assert (job["BatchStrategy"], job["TransformInput"]["SplitType"]) == ("SingleRecord", "Line")
    assert job["TransformInput"]["ContentType"] == job["TransformOutput"]["Accept"] == "application/jsonlines"
    assert job["TransformOutput"]["AssembleWith"] == "Line"
    assert job["MaxConcurrentTransforms"] * job["MaxPayloadInMB"] <= 100  # the platform's limit
    assert job["TransformResources"] == {
        "InstanceType": "ml.g5.xlarge",
        "InstanceCount": 2,
        "TransformAmiVersion": "al2-ami-sagemaker-batch-gpu-535",
    }
    assert account.sagemaker.describe_model(ModelName=job["ModelName"])["PrimaryContainer"]["ModelDataUrl"] == ARCHIVE


def test_batch_job_with_prefix_is_refused(account: Account):
    with pytest.raises(CannotDeploy, match="one archive only"):
        lifecycle.start_batch(account, container(), Catalogue(requests="s3://weights/in.jsonl", answers=ANSWERS))
    assert resources(account) == []


def test_redeployment_replaces_only_changed_values(account: Account):
    lifecycle.make_real_time(account, container(), Fleet())
    first = resources(account)
    lifecycle.make_real_time(account, container(), Fleet())
    assert resources(account) == first
    lifecycle.make_real_time(account, container(weights="s3://weights/bundles/2/"), Fleet())
    second = resources(account)
    assert len(second) == len(first)
    assert set(second).isdisjoint(item for item in first if item.startswith(("model", "config")))
    source = model_of(account, "adverts")["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source["S3Uri"] == "s3://weights/bundles/2/"


def test_rolled_back_update_deletes_nothing(account: Account, monkeypatch: pytest.MonkeyPatch):
    lifecycle.make_real_time(account, container(), Fleet())
    before = resources(account)
    monkeypatch.setattr(fake_aws, "ROLLED_BACK", ["adverts"])
    with pytest.raises(CannotDeploy, match="does not serve adverts-"):
        lifecycle.make_real_time(account, container(weights="s3://weights/bundles/2/"), Fleet())
    assert set(before) <= set(resources(account))


def test_endpoint_keeps_model_of_running_job(account: Account):
    catalogue = Catalogue(requests="s3://weights/in.jsonl", answers=ANSWERS)
    job = lifecycle.start_batch(account, container(weights=ARCHIVE), catalogue)
    sagemaker_backends[fake_aws.ACCOUNT][fake_aws.REGION].transform_jobs[job].transform_job_status = "InProgress"
    before = resources(account)
    lifecycle.make_real_time(account, container(), Fleet())
    assert set(before) <= set(resources(account))


def test_delete_leaves_nothing_behind(account: Account):
    lifecycle.make_real_time(account, container("now"), Fleet())
    lifecycle.make_asynchronous(account, container("later"), Fleet(minimum=0), ANSWERS)
    catalogue = Catalogue(requests="s3://weights/in.jsonl", answers=ANSWERS)
    job = lifecycle.start_batch(account, container("spring", weights=ARCHIVE), catalogue)
    sagemaker_backends[fake_aws.ACCOUNT][fake_aws.REGION].transform_jobs[job].transform_job_status = "InProgress"
    assert len(resources(account)) == 13
    removed = [line for name in ("now", "later", "spring") for line in lifecycle.delete(account, name)]
    assert resources(account) == []
    assert account.sagemaker.describe_transform_job(TransformJobName=job)["TransformJobStatus"] == "Stopped"
    assert len(removed) == 14
    assert list(lifecycle.delete(account, "now")) == []


def test_delete_keeps_foreign_resources(account: Account):
    lifecycle.make_real_time(account, container("adverts-2"), Fleet())
    other = container("somebodys")
    account.sagemaker.create_model(**{**requests.model(other, {}), "ModelName": "adverts-by-hand", "Tags": []})
    account.cloudwatch.put_metric_alarm(
        AlarmName="adverts-wake",
        Namespace="N",
        MetricName="M",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        Statistic="Average",
        ComparisonOperator="GreaterThanThreshold",
    )
    before = resources(account)
    lifecycle.make_real_time(account, container("adverts"), Fleet())
    assert resources(account) != before
    assert list(lifecycle.delete(account, "adverts"))
    assert resources(account) == before


def test_foreign_endpoint_is_unchanged(account: Account):
    lifecycle.make_real_time(account, container("theirs"), Fleet())
    config = account.sagemaker.describe_endpoint(EndpointName="theirs")["EndpointConfigName"]
    account.sagemaker.create_endpoint(EndpointName="adverts", EndpointConfigName=config)
    with pytest.raises(CannotDeploy, match="Choose another name"):
        lifecycle.make_real_time(account, container(), Fleet())
    assert list(lifecycle.delete(account, "adverts")) == []
    assert account.sagemaker.describe_endpoint(EndpointName="adverts")["EndpointStatus"] == "InService"


def test_failed_endpoint_error_has_reason_and_log(account: Account):
    lifecycle.make_real_time(account, container(), Fleet())
    endpoint: Any = sagemaker_backends[fake_aws.ACCOUNT][fake_aws.REGION].endpoints["adverts"]
    endpoint.endpoint_status, endpoint.failure_reason = "Failed", "The container did not pass the ping health check."
    with pytest.raises(CannotDeploy, match=r"did not pass the ping .*/aws/sagemaker/Endpoints/adverts"):
        lifecycle.make_real_time(account, container(), Fleet())


def test_invoke_real_time_and_asynchronous(account: Account, tmp_path: Path):
    lifecycle.make_real_time(account, container("now"), Fleet())
    lifecycle.make_asynchronous(account, container("later"), Fleet(minimum=0), ANSWERS)
    body = tmp_path / "request.json"
    body.write_text("{}")
    with Stubber(account.runtime) as runtime:
        expected = {"Body": b"{}", "ContentType": "application/json", "Accept": "image/png"}
        response = {"Body": io.BytesIO(b"a picture"), "ContentType": "image/png"}
        runtime.add_response("invoke_endpoint", response, {"EndpointName": "now", **expected})
        assert invoke(account, "now", body, "image/png") == b"a picture"
    before = resources(account)
    answer = json.loads(invoke(account, "later", body, "application/json"))  # moto's own answer, through S3
    assert answer == {"default": "response"}
    assert resources(account) == before, "the request's object is deleted again"


def test_refusal_has_message_of_server(account: Account, tmp_path: Path):
    lifecycle.make_real_time(account, container(), Fleet())
    body = tmp_path / "request.json"
    body.write_text("{}")
    with Stubber(account.runtime) as runtime:
        runtime.add_client_error(
            "invoke_endpoint",
            "ModelError",
            http_status_code=424,
            modeled_fields={"OriginalStatusCode": 400, "OriginalMessage": "Give an image."},
        )
        with pytest.raises(CannotDeploy, match=r"refused \(400\): Give an image"):
            invoke(account, "adverts", body, "application/json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "my adverts"}, "letters, digits and single hyphens"),
        ({"name": "a" * 41}, "up to 40"),
        ({"weights": "bundles/1/"}, "s3://BUCKET/KEY"),
        ({"weights": "s3://weights/bundles/1"}, "end in .tar.gz or, for a prefix, in a slash"),
    ],
)
def test_invalid_deployment_is_refused(changes: dict[str, str], sentence: str):
    with pytest.raises(CannotDeploy, match=sentence):
        container(**changes)


def test_invalid_fleet_is_refused(account: Account):
    with pytest.raises(CannotDeploy, match="at least the minimum"):
        Fleet(minimum=3, maximum=2)
    with pytest.raises(CannotDeploy, match="only an asynchronous endpoint scales to zero"):
        lifecycle.make_real_time(account, container(), Fleet(minimum=0))


def test_aws_error_is_one_sentence():
    refusal = {"Error": {"Code": "ResourceLimitExceeded", "Message": "The limit of ml.g5.xlarge is 0 instances."}}
    with (
        pytest.raises(CannotDeploy, match=r"refuses CreateEndpoint \(ResourceLimitExceeded\): The limit"),
        one_sentence(),
    ):
        raise ClientError(refusal, "CreateEndpoint")


@pytest.mark.usefixtures("account")
def test_command_line_deploys_shows_and_deletes():
    runner = CliRunner()
    options = ["--image", fake_aws.IMAGE, "--weights", PREFIX, "--role", fake_aws.ROLE, "--setting", "INPAINT_QUEUE=16"]
    outputs = [
        runner.invoke(app, ["deploy", *words]).output
        for words in (["real-time", "adverts", *options], ["status", "adverts"], ["delete", "adverts"])
    ]
    assert outputs[0] == "adverts serves.\n"
    assert outputs[1].splitlines() == [
        "endpoint adverts: InService",
        "  kind: real-time",
        "  instances: 1 of 1 wanted",
        "  scales: from 1 to 4",
        "  on: ml.g5.xlarge",
        f"  image: {fake_aws.IMAGE}",
    ]
    assert "deleted endpoint adverts\n" in outputs[2]
    gone = runner.invoke(app, ["deploy", "status", "adverts"])
    assert (gone.exit_code, str(gone.exception)) == (
        1,
        "Check the name and the region: there is no deployment adverts.",
    )
