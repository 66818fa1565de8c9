"""What an endpoint has beside its model: capacity that a rollback keeps, guarded updates, GPUs, machines, variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lambda_stand_ins
from thorax_launch.cli import deploy
from thorax_launch.sagemaker.drivers import machine_image
from thorax_launch.sagemaker.machines import aws_image

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", BUCKET, "--role", ROLE, "--region", "eu-central-1"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(f"chest-{number}" for number in range(100))
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.dated", lambda name: next(names))
    for module in ("status", "smoke_tests"):
        monkeypatch.setattr(f"thorax_launch.sagemaker.{module}.POLL", 0.0)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the endpoint answers from now on."""
    found = [b"[0.25]"]

    def respond(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, found[0]

    with lambda_stand_ins.serving(respond) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", address)
        yield found


@pytest.fixture
def updates(aws: Any) -> Any:
    """UpdateEndpoint and UpdateEndpointWeightsAndCapacities, which moto lacks or does half.

    By AWS's documents: without RetainAllVariantProperties the new configuration's count is what the endpoint has then.
    """
    from moto.sagemaker.models import sagemaker_backends

    backend = sagemaker_backends["123456789012"]["eu-central-1"]

    def update(asked: dict[str, Any]) -> dict[str, Any]:
        endpoint = backend.endpoints[asked["EndpointName"]]
        endpoint.endpoint_config_name = asked["EndpointConfigName"]
        if not asked["RetainAllVariantProperties"]:
            config = backend.endpoint_configs[asked["EndpointConfigName"]]
            set_count(endpoint, config.production_variants[0]["InitialInstanceCount"])
        return {"EndpointArn": endpoint.arn}

    def set_count(endpoint: Any, count: int) -> None:
        for variant in endpoint.production_variants:
            variant["DesiredInstanceCount"] = variant["CurrentInstanceCount"] = count

    def capacities(asked: dict[str, Any]) -> dict[str, Any]:
        endpoint = backend.endpoints[asked["EndpointName"]]
        set_count(endpoint, asked["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"])
        return {"EndpointArn": endpoint.arn}

    aws.answers |= {"UpdateEndpoint": update, "UpdateEndpointWeightsAndCapacities": capacities}
    return lambda count: set_count(backend.endpoints["chest"], count)


def words(bundle: Path, *more: str) -> list[str]:
    return [str(bundle), "--endpoint-name", "chest", *PLACE, "--yes", *more]


def count(aws: Any) -> int:
    aws.own = list(aws.calls) if aws.own is None else aws.own
    variants = aws.client("sagemaker").describe_endpoint(EndpointName="chest")["ProductionVariants"]
    return int(variants[0]["DesiredInstanceCount"])


def limits(aws: Any) -> list[tuple[int, int]]:
    found = aws.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    return [(target["MinCapacity"], target["MaxCapacity"]) for target in found["ScalableTargets"]]


def test_autoscaling_starts_with_its_lowest_number(aws: Any, answers: Any, light: Path, capsys: Capture) -> None:
    assert deploy.main(words(light, "--autoscale", "2,6")) == 0
    (config,) = aws.sent("CreateEndpointConfig")
    assert config["ProductionVariants"][0]["InitialInstanceCount"] == 2
    capsys.readouterr()
    assert deploy.main(words(light, "--autoscale", "2,6", "--instance-count", "1")) == 1
    assert capsys.readouterr().err == "error: --instance-count 1 is not within --autoscale 2,6\n"


def test_a_rollback_keeps_what_autoscaling_came_to(
    aws: Any, answers: Any, updates: Any, light: Path, capsys: Capture
) -> None:
    assert deploy.main(words(light, "--autoscale", "2,6")) == 0
    updates(5)
    answers[0] = b"no numbers"
    assert deploy.main(words(light, "--autoscale", "1,3")) == 1
    assert "endpoint chest answers as before" in capsys.readouterr().err
    assert count(aws) == 5
    assert limits(aws) == [(2, 6)]


@pytest.mark.parametrize("before", ["1,3", ""])
def test_a_rollback_takes_new_autoscaling_back(
    before: str, aws: Any, updates: Any, light: Path, capsys: Capture
) -> None:
    known = list(aws.calls)
    aws.client("s3").put_object(Bucket=BUCKET, Key="thorax/chest/async/1.out", Body=b"[0.5]")
    aws.calls[:] = known
    aws.answers["InvokeEndpointAsync"] = lambda _: {"OutputLocation": f"s3://{BUCKET}/thorax/chest/async/1.out"}
    assert deploy.main(words(light, "--async", *(["--autoscale", before] if before else []))) == 0
    aws.faults["CreateModelPackageGroup"] = [(400, "ResourceLimitExceeded", "too many")]  # after the autoscaling
    assert deploy.main(words(light, "--async", "--autoscale", "0,5", "--register", "chest")) == 1
    assert "endpoint chest answers as before" in capsys.readouterr().err
    aws.own = list(aws.calls)
    scaling = aws.client("application-autoscaling")
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert limits(aws) == ([(1, 3)] if before else [])
    if before:  # moto keeps the policies of a target that is deregistered; AWS deletes them
        assert [policy["PolicyName"] for policy in policies] == ["thorax-chest-load"]
    assert aws.client("cloudwatch").describe_alarms(AlarmNames=["thorax-chest-wake"])["MetricAlarms"] == []


def test_a_rollback_keeps_machines_that_were_set_by_hand(
    aws: Any, answers: Any, updates: Any, light: Path, capsys: Capture
) -> None:
    assert deploy.main(words(light)) == 0
    updates(4)
    answers[0] = b"no numbers"
    assert deploy.main(words(light, "--instance-count", "2")) == 1
    assert count(aws) == 4


def test_a_canary_has_an_alarm_that_rolls_it_back(
    aws: Any, answers: Any, updates: Any, light: Path, capsys: Capture
) -> None:
    assert deploy.main(words(light)) == 0
    assert deploy.main(words(light, "--canary", "20", "--bake-minutes", "10")) == 0
    (update,) = aws.sent("UpdateEndpoint")
    assert update["DeploymentConfig"] == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 600,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20},
            },
            "TerminationWaitInSeconds": 60,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "thorax-chest-errors"}]},
    }
    (alarm,) = aws.sent("PutMetricAlarm")
    assert (alarm["AlarmName"], alarm["MetricName"]) == ("thorax-chest-errors", "Invocation5XXErrors")
    order = [name for _, name, _ in aws.calls if name in ("PutMetricAlarm", "UpdateEndpoint")]
    assert order == ["PutMetricAlarm", "UpdateEndpoint"]
    from thorax_launch.cli import delete

    capsys.readouterr()
    assert delete.main(["chest", "--yes"]) == 0
    assert "deleted alarm thorax-chest-errors" in capsys.readouterr().out


def shown(capsys: Capture, light: Path, *more: str) -> dict[str, Any]:
    assert deploy.main([*words(light, *more), "--dry-run"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_linear_and_rolling_updates(offline: Path, light: Path, capsys: Capture) -> None:
    linear = shown(capsys, light, "--linear", "25", "--alarm", "mine,yours")["UpdateEndpoint"]["DeploymentConfig"]
    assert linear["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["LinearStepSize"]["Value"] == 25
    assert linear["AutoRollbackConfiguration"]["Alarms"] == [{"AlarmName": "mine"}, {"AlarmName": "yours"}]
    rolling = shown(capsys, light, "--rolling", "50")["UpdateEndpoint"]["DeploymentConfig"]
    assert rolling["RollingUpdatePolicy"]["MaximumBatchSize"] == {"Type": "CAPACITY_PERCENT", "Value": 50}


def test_every_gpu_has_a_replica(offline: Path, light: Path, capsys: Capture) -> None:
    def environment(*more: str) -> dict[str, str]:
        found: dict[str, str] = shown(capsys, light, *more)["CreateModel"]["PrimaryContainer"].get("Environment", {})
        return found

    assert environment("--instance-type", "ml.g5.12xlarge") == {"THORAX_REPLICAS": "4"}
    assert environment("--instance-type", "ml.g6e.48xlarge") == {"THORAX_REPLICAS": "8"}  # not in the SDK's table
    assert environment("--instance-type", "ml.g5.xlarge") == environment() == {}
    assert environment("--env", "THORAX_MAX_BATCH=8", "--env", "A=b") == {"THORAX_MAX_BATCH": "8", "A": "b"}
    few = ["--instance-type", "ml.g5.12xlarge", "--env", "THORAX_REPLICAS=2"]
    assert deploy.main([*words(light, *few), "--dry-run"]) == 0
    assert "ml.g5.12xlarge has 4 GPUs, of which 2 would work: THORAX_REPLICAS=2" in capsys.readouterr().err


def test_machines_to_fall_back_on_and_times(offline: Path, light: Path, capsys: Capture) -> None:
    more = ["--instance-type", "ml.g5.xlarge,ml.g6.xlarge", "--startup-minutes", "15", "--download-minutes", "20"]
    (variant,) = shown(capsys, light, *more)["CreateEndpointConfig"]["ProductionVariants"]
    assert variant["InstancePools"] == [
        {"InstanceType": "ml.g5.xlarge", "Priority": 1},
        {"InstanceType": "ml.g6.xlarge", "Priority": 2},
    ]
    assert "InstanceType" not in variant
    assert variant["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 900
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 1200


def test_serverless_copies_and_asynchronous_topics(offline: Path, light: Path, capsys: Capture) -> None:
    serverless = shown(capsys, light, "--serverless", "--provisioned", "2")
    (variant,) = serverless["CreateEndpointConfig"]["ProductionVariants"]
    assert variant["ServerlessConfig"]["ProvisionedConcurrency"] == 2
    topic = "arn:aws:sns:eu-central-1:123456789012:done"
    config = shown(capsys, light, "--async", "--success-topic", topic)["CreateEndpointConfig"]["AsyncInferenceConfig"]
    assert config["OutputConfig"]["NotificationConfig"] == {"SuccessTopic": topic}
    assert config["OutputConfig"]["S3FailurePath"] == "s3://films/thorax/chest/async-failed/"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--canary", "10", "--linear", "10"], "--canary and --linear: choose one way to update"),
        (["--canary", "70"], "--canary 70 must be 1 to 50 percent"),
        (["--serverless", "--canary", "10"], "--canary, --linear, --rolling and --alarm: AWS has none"),
        (["--bake-minutes", "10"], "--bake-minutes goes with --canary"),
        (["--instance-type", "ml.trn1.2xlarge"], "--instance-type ml.trn1.2xlarge: Trainium needs AWS's Neuron build"),
        (["--instance-type", "ml.inf2.xlarge"], "--instance-type ml.inf2.xlarge: Inferentia needs"),
        (["--instance-type", "ml.p2.xlarge"], "--instance-type ml.p2.xlarge: torch dropped its Kepler GPUs"),
        (["--instance-type", "ml.p3.2xlarge"], "--instance-type ml.p3.2xlarge: no machine image of AWS is known"),
        (["--instance-type", "ml.c7g.large"], "--instance-type ml.c7g.large: it has an ARM processor"),
        (["--instance-type", "ml.g5.xlarge,ml.m5.large"], "--instance-type ml.g5.xlarge,ml.m5.large: name up to 5"),
        (["--instance-type", "ml.p6-b200.48xlarge"], "--instance-type ml.p6-b200.48xlarge: no machine image of AWS"),
        (["--serverless", "--region", "us-gov-west-1"], "--serverless in us-gov-west-1: AWS has no serverless"),
        (["--serverless", "--provisioned", "9"], "--provisioned 9 is above --concurrency 4"),
        (["--provisioned", "1"], "--provisioned is for --serverless"),
        (["--success-topic", "x"], "--success-topic and --error-topic are for --async"),
        (["--env", "THORAX_MAXBATCH=8"], "THORAX_MAXBATCH is no setting"),
        (["--env", "1A=8"], "a name in PrimaryContainer.Environment='1A'"),
    ],
)
def test_what_is_refused(more: list[str], message: str, offline: Path, light: Path, capsys: Capture) -> None:
    assert deploy.main([*words(light, *more), "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_machine_images_are_those_of_the_model_of_aws(offline: Path) -> None:
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    known = model.shape_for("ProductionVariantInferenceAmiVersion").enum
    assert machine_image("endpoint", "ml.g5.xlarge", "x:cuda-v1.4") in known
    newest = machine_image("endpoint", "ml.p5.48xlarge", "x:2.14-cu130-amzn2023")
    assert newest == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert newest in known
    words = model.shape_for("TransformResources").members["TransformAmiVersion"].documentation
    assert machine_image("batch transform", "ml.g5.xlarge", "x:cuda-v1.4") in words
    assert machine_image("batch transform", "ml.m5.xlarge", "x:cpu") == ""
    assert machine_image("batch transform", "ml.p5.48xlarge", "x:cuda", "my-ami") == "my-ami"


def test_an_image_of_another_version_is_refused(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neuron = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference-neuron:1.11.0-neuron-py38"
    monkeypatch.setattr("sagemaker.core.image_uris.retrieve", lambda *_, **__: neuron)
    with pytest.raises(Exception, match=r"which is not one of version 1\.4 for CPUs"):
        aws_image("ray-serve", "1.4", "ml.m5.large", "us-east-1", "inference")
