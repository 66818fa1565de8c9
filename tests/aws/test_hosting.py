"""Requests that host a bundle: as ever, valid for AWS's model; made in moto and deleted again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from golden import check
from thorax.errors import ThoraxError
from thorax_launch.cli import delete
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker import autoscaling, hosting
from thorax_launch.sagemaker.hosting import HostingSpec, TransformPlace
from thorax_launch.sagemaker.requests import tags
from thorax_launch.settings import AwsSettings

TAGS = [{"Key": "project", "Value": "thorax"}, {"Key": "recipe", "Value": "demo"}]
PLAIN = AwsSettings(region="eu-central-1", role="arn:aws:iam::123456789012:role/thorax-execution", bucket="films")
SECURE = replace(
    PLAIN,
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    kms_key="alias/films",
    volume_kms_key="alias/disk",
    network_isolation=True,
)
SPEC = HostingSpec("chest", "s3://films/thorax/one/output/model.tar.gz")
BATCH = TransformPlace("batch", "s3://films/thorax/batch/m.json", "s3://films/thorax/batch/scores/", "ray:cuda")
Capture = pytest.CaptureFixture[str]


def stack(spec: HostingSpec, settings: AwsSettings) -> list[Any]:
    return [
        hosting.model(spec, settings, TAGS),
        hosting.endpoint_config(spec, settings, TAGS),
        hosting.endpoint(spec, TAGS),
    ]


def transform(settings: AwsSettings, **options: Any) -> Any:
    return hosting.transform(BATCH, settings, TAGS, TransformOptions(**options))


@pytest.mark.parametrize(
    ("name", "spec", "settings"),
    [
        ("realtime", SPEC, PLAIN),
        ("realtime-gpu-secure", replace(SPEC, instance_type="ml.g5.xlarge", capture=20), SECURE),
        ("torchserve", replace(SPEC, server="torchserve"), PLAIN),
        ("serverless", replace(SPEC, kind="serverless", memory_mb=3072, concurrency=5), PLAIN),
        ("async", replace(SPEC, kind="async", instance_type="ml.g5.xlarge"), SECURE),
    ],
)
def test_endpoints(name: str, spec: HostingSpec, settings: AwsSettings, offline: Path) -> None:
    check(f"endpoint-{name}", {request.operation: request.parameters for request in stack(spec, settings)})


def test_batch_and_registry(offline: Path) -> None:
    check("transform", transform(SECURE, concurrent=16, instance_count=2).parameters)
    check(
        "model-package",
        hosting.model_package(SPEC, "chest-models", PLAIN, "s3://films/thorax/one/metrics.json", "{}").parameters,
    )


@pytest.mark.parametrize(("flag", "accept"), [(False, "application/json"), (True, "application/jsonlines")])
def test_a_transform_may_answer_as_the_built_in_algorithm_does(flag: bool, accept: str, offline: Path) -> None:
    assert transform(SECURE, jsonlines=flag).parameters["TransformOutput"]["Accept"] == accept


def test_a_transform_on_local_disks_has_no_key(offline: Path) -> None:
    keyed = replace(PLAIN, kms_key="alias/films")
    kinds = ("ml.m5.xlarge", "ml.g5.xlarge")
    machines = {kind: transform(keyed, instance_type=kind).parameters for kind in kinds}
    assert {kind: job["TransformResources"].get("VolumeKmsKeyId") for kind, job in machines.items()} == {
        "ml.m5.xlarge": "alias/films",
        "ml.g5.xlarge": None,
    }
    assert all(job["TransformOutput"]["KmsKeyId"] == "alias/films" for job in machines.values())


@pytest.mark.parametrize("kind", ["realtime", "async"])
def test_autoscaling(kind: str, offline: Path) -> None:
    calls = autoscaling.autoscaling(replace(SPEC, kind=kind), 1, 4, 60.0)
    model = boto3.client(
        "application-autoscaling", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    ).meta.service_model
    import botocore.validate

    for (call, arguments), operation in zip(calls, ["RegisterScalableTarget", "PutScalingPolicy"], strict=True):
        assert call == botocore.xform_name(operation)
        report = botocore.validate.ParamValidator().validate(arguments, model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    check(f"autoscaling-{kind}", dict(calls))


def test_autoscaling_from_zero_wakes_for_a_single_request(offline: Path) -> None:
    calls = autoscaling.autoscaling(replace(SPEC, kind="async"), 0, 4, 60.0)
    import botocore.session
    import botocore.validate

    assert calls[:2] == [
        (call, {**arguments, **({"MinCapacity": 0} if "MinCapacity" in arguments else {})})
        for call, arguments in autoscaling.autoscaling(replace(SPEC, kind="async"), 1, 4, 60.0)
    ]
    for (call, arguments), service, operation in zip(
        calls[2:], ["application-autoscaling", "cloudwatch"], ["PutScalingPolicy", "PutMetricAlarm"], strict=True
    ):
        assert call == botocore.xform_name(operation)
        shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
        report = botocore.validate.ParamValidator().validate(arguments, shape)
        assert not report.has_errors(), report.generate_report()
    check("autoscaling-from-zero", dict(calls[2:]))


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (
            lambda: hosting.endpoint_config(replace(SPEC, kind="serverless", memory_mb=5000), PLAIN, TAGS),
            "--memory-mb 5000 is not one of 1024",
        ),
        (
            lambda: hosting.endpoint_config(replace(SPEC, kind="serverless", concurrency=500), PLAIN, TAGS),
            "--concurrency 500: a serverless endpoint takes",
        ),
        (
            lambda: hosting.endpoint_config(replace(SPEC, kind="serverless"), SECURE, TAGS),
            "a serverless endpoint cannot be in a VPC",
        ),
        (
            lambda: hosting.endpoint_config(replace(SPEC, kind="serverless", capture=5), PLAIN, TAGS),
            "--capture: AWS stores no requests",
        ),
        (lambda: autoscaling.autoscaling(SPEC, 0, 2, 60.0), "--autoscale 0,2: give lowest,highest with 1 <= lowest"),
        (
            lambda: autoscaling.autoscaling(replace(SPEC, kind="serverless"), 1, 2, 60.0),
            "--autoscale with a serverless endpoint",
        ),
        (lambda: transform(PLAIN, concurrent=20, payload_mb=6), "--concurrent 20 x --payload-mb 6 is above the 100 MB"),
        (
            lambda: transform(SECURE, instance_type="ml.g4dn.xlarge"),
            "--volume-kms-key alias/disk with ml.g4dn.xlarge: AWS takes no key",
        ),
        (lambda: hosting.model(replace(SPEC, name="a_b'"), PLAIN, TAGS), "ModelName="),
        (
            lambda: hosting.endpoint_config(replace(SPEC, capture=200), PLAIN, TAGS),
            "DataCaptureConfig.InitialSamplingPercentage=200 is not 0 to 100",
        ),
        (
            lambda: hosting.model(replace(SPEC, instance_type="ml.m5.large"), replace(PLAIN, region="nowhere-1"), TAGS),
            "no AWS image for --region nowhere-1",
        ),
    ],
)
def test_what_aws_would_refuse(work: Any, message: str, offline: Path) -> None:
    with pytest.raises(ThoraxError) as caught:
        work()
    assert str(caught.value).startswith(message)


def test_made_and_deleted(aws: Any, capsys: Capture) -> None:
    session = boto3.Session(region_name="eu-central-1")
    marked = tags(PLAIN)
    for request in (
        hosting.model(SPEC, PLAIN, marked),
        hosting.endpoint_config(SPEC, PLAIN, marked),
        hosting.endpoint(SPEC, marked),
    ):
        request.send(session)
    scaling = session.client("application-autoscaling")
    for call, arguments in autoscaling.autoscaling(SPEC, 1, 3, 60.0):
        getattr(scaling, call)(**arguments)
    assert delete.main([]) == 0
    assert capsys.readouterr().out == "still running, billed by the hour: endpoint chest (thorax delete chest)\n"
    listed = [
        "autoscaling of endpoint/chest/variant/main",
        "endpoint chest",
        "endpoint configuration chest",
        "model chest",
    ]
    assert delete.main(["chest", "--dry-run"]) == 0
    shown = capsys.readouterr()
    said = [f"{'' if k else 'deletes:':9} {one}" for k, one in enumerate(listed)]
    assert shown.err.splitlines()[:4] == said
    calls = ["DeregisterScalableTarget", "DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel"]
    assert [name for call in json.loads(shown.out) for name in call] == calls
    assert "DeleteEndpoint" not in aws.operations
    assert delete.main(["chest", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"deleted {one}" for one in listed]
    aws.own = list(aws.calls)  # what follows is the test's own look, for which the launcher needs no right
    sagemaker = session.client("sagemaker")
    assert (
        sagemaker.list_endpoints()["Endpoints"]
        == sagemaker.list_models()["Models"]
        == sagemaker.list_endpoint_configs()["EndpointConfigs"]
        == []
    )
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_no_such_endpoint(aws: Any, capsys: Capture) -> None:
    """What is asked for is so already: a deletion that was cut off ends well when it is given again."""
    assert delete.main(["nowhere", "--yes"]) == 0
    said = "there is no endpoint nowhere, and nothing that is left of one in eu-central-1\n"
    assert capsys.readouterr().out == said
