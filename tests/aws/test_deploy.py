"""deploy.py against moto: an endpoint made, tried, updated, deleted.

And every way in which it fails leaves nothing running.
"""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import images
import lambda_stand_ins
from hosting import Client
from thorax.serving.app import create_app
from thorax.serving.classifier import Classifier
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from thorax_launch.cli import delete, deploy, predict

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", BUCKET, "--role", "thorax-execution"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(f"chest-{number}" for number in range(100))
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.dated", lambda name: next(names))
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("thorax_launch.sagemaker.smoke_tests.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, bytes]]]:
    """What the endpoint answers from now on: the last one stays. Its address is AWS's runtime's."""
    answers = [(200, b"[0.25]")]

    def respond(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert (method, path, body[:4]) == ("POST", "/endpoints/chest/invocations", b"\x89PNG")
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 200:
            return 200, {"Content-Type": "application/json"}, content
        return lambda_stand_ins.aws_error(
            424, "ModelError", OriginalStatusCode=status, OriginalMessage=content.decode(), Message="from the container"
        )

    with lambda_stand_ins.serving(respond) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", address)
        yield answers


@pytest.fixture(autouse=True)
def updates(request: pytest.FixtureRequest) -> None:
    """UpdateEndpoint, which moto lacks: the endpoint has the other configuration at once."""
    if "aws" in request.fixturenames:
        from moto.sagemaker.models import sagemaker_backends

        def update(asked: dict[str, Any]) -> dict[str, Any]:
            endpoint = sagemaker_backends["123456789012"]["eu-central-1"].endpoints[asked["EndpointName"]]
            endpoint.endpoint_config_name = asked["EndpointConfigName"]
            return {"EndpointArn": endpoint.arn}

        request.getfixturevalue("aws").answers["UpdateEndpoint"] = update


def words(bundle: Path | str, *more: str) -> list[str]:
    return [str(bundle), "--endpoint-name", "chest", *PLACE, "--yes", *more]


def left(aws: Any) -> dict[str, list[str]]:
    """What is on AWS; a look of the test's own, for which the launcher needs no right."""
    aws.own = list(aws.calls) if aws.own is None else aws.own
    sagemaker = aws.client("sagemaker")
    scaled = aws.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    return {
        "endpoints": [one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]],
        "configurations": [one["EndpointConfigName"] for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
        "models": [one["ModelName"] for one in sagemaker.list_models()["Models"]],
        "scaled": [one["ResourceId"] for one in scaled],
        "alarms": [one["AlarmName"] for one in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
    }


NOTHING: dict[str, list[str]] = {"endpoints": [], "configurations": [], "models": [], "scaled": [], "alarms": []}


def last_error(capsys: Capture) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_made_registered_updated_and_deleted(aws: Any, runtime: Any, light: Path, capsys: Capture) -> None:
    assert deploy.main(words(light, "--autoscale", "1,3", "--register", "chest-models")) == 0
    shown = capsys.readouterr().out
    assert "smoke test: [0.25]" in shown
    assert "thorax delete chest" in shown
    (package,) = aws.sent("CreateModelPackage")
    metrics = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
    assert aws.client("s3").get_object(Bucket=BUCKET, Key=metrics)["Body"].read() == b"{}"
    assert deploy.main(words(light, "--capture", "10")) == 0
    (update,) = aws.sent("UpdateEndpoint")
    assert update == {"EndpointName": "chest", "EndpointConfigName": "chest-1", "RetainAllVariantProperties": True}
    assert len(aws.sent("CreateEndpoint")) == 1
    aws.own = list(aws.calls)
    there = {
        "endpoints": ["chest"],
        "configurations": ["chest-1"],
        "models": ["chest-1"],
        "scaled": ["endpoint/chest/variant/main"],
    }
    assert left(aws) == NOTHING | there
    aws.calls.clear()
    assert delete.main(["chest", "--yes"]) == 0
    aws.own += aws.calls
    assert left(aws) == NOTHING


def test_what_is_sent_is_what_the_dry_run_shows(
    aws: Any, runtime: Any, light: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.dated", lambda name: "chest-x")
    more = [
        "--autoscale",
        "1,2",
        "--kms-key",
        "alias/films",
        "--subnets",
        "subnet-1",
        "--security-groups",
        "sg-1",
        "--image",
        "torchserve",
    ]
    assert deploy.main([*words(light, *more), "--role", ROLE, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert aws.calls == []
    assert "UpdateEndpoint takes the place" in shown.err
    assert deploy.main(words(light, *more)) == 0
    for operation, parameters in json.loads(shown.out).items():
        assert aws.sent(operation) == [parameters]


def test_the_bundle_that_the_model_names_is_whole_and_the_same_each_time(
    aws: Any, runtime: Any, light: Path, tmp_path: Path, capsys: Capture
) -> None:
    for _ in range(2):
        assert deploy.main(words(light)) == 0
    first, second = aws.sent("CreateModel")
    assert first["PrimaryContainer"] == second["PrimaryContainer"]
    assert len(aws.sent("PutObject")) == 1  # it was there
    folder = fetched(aws, first, tmp_path / "model")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        path.relative_to(light).as_posix()
        for path in light.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"bundle.json", "model.safetensors", "config.yaml", "code/deployment.py", "code/inference.py"} <= names


def fetched(aws: Any, model: dict[str, Any], folder: Path) -> Path:
    """What SageMaker puts into /opt/ml/model for a CreateModel request."""
    bucket, _, key = model["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://").partition("/")
    with tarfile.open(fileobj=io.BytesIO(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())) as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_the_bundle_that_the_model_names_answers(
    aws: Any, whole: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the request names, unpacked and served by the app.

    The smoke test and predict.py ask that through AWS's runtime.
    """
    app: list[Client] = []

    def respond(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not app:
            classifier = Classifier.load(fetched(aws, aws.sent("CreateModel")[0], tmp_path / "model"), threads=1)
            app.append(Client(create_app(lambda: Service(classifier, ServerSettings(workers=1, threads=1)))))
        kept = {key: headers[key] for key in ("Content-Type", "Accept") if key in headers}
        with Client(app[0].app).running() as client:
            answer = client.ask(body=body, headers=kept)
        return answer.status, {"Content-Type": "application/json"}, answer.body

    with lambda_stand_ins.serving(respond) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", address)
        assert deploy.main(words(whole)) == 0
        image = tmp_path / "image.png"
        image.write_bytes(images.data(images.grey()))
        capsys.readouterr()
        assert predict.main(["chest", str(image), "--json"]) == 0
    (message,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert message["probabilities"] == pytest.approx(
        [Classifier.load(whole, threads=1).predict([image])[0, 0]], abs=1e-6
    )


def answers_by_s3(aws: Any, answer: bytes) -> None:
    """What an asynchronous endpoint does: its answer lies in the bucket."""
    made = list(aws.calls)
    aws.client("s3").put_object(Bucket=BUCKET, Key="thorax/chest/async/1.out", Body=answer)
    aws.calls[:] = made
    aws.answers["InvokeEndpointAsync"] = lambda _: {"OutputLocation": f"s3://{BUCKET}/thorax/chest/async/1.out"}


def test_serverless_and_asynchronous(aws: Any, runtime: Any, light: Path, capsys: Capture) -> None:
    assert deploy.main(words(light, "--serverless", "--memory-mb", "2048")) == 0
    assert aws.sent("CreateEndpointConfig")[0]["ProductionVariants"][0]["ServerlessConfig"] == {
        "MemorySizeInMB": 2048,
        "MaxConcurrency": 4,
    }
    assert delete.main(["chest", "--yes"]) == 0
    answers_by_s3(aws, b"[0.5]")
    assert deploy.main(words(light, "--async", "--autoscale", "0,2")) == 0
    assert aws.sent("InvokeEndpointAsync")[0]["InputLocation"] == f"s3://{BUCKET}/thorax/chest/smoke/image.png"
    assert "smoke test: [0.5]" in capsys.readouterr().out


def test_an_asynchronous_endpoint_wakes_from_zero(aws: Any, light: Path, capsys: Capture) -> None:
    more = ["--async", "--autoscale", "0,2"]
    assert deploy.main([*words(light, *more), "--role", ROLE, "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    answers_by_s3(aws, b"[0.5]")
    assert deploy.main(words(light, *more)) == 0
    assert aws.sent("PutScalingPolicy") == shown["PutScalingPolicy"]
    (alarm,) = aws.sent("PutMetricAlarm")
    assert alarm | {"AlarmActions": shown["PutMetricAlarm"]["AlarmActions"]} == shown["PutMetricAlarm"]
    aws.own = list(aws.calls)
    policies = aws.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")[
        "ScalingPolicies"
    ]
    assert alarm["AlarmActions"] == [one["PolicyARN"] for one in policies if one["PolicyType"] == "StepScaling"]
    aws.calls.clear()
    assert delete.main(["chest", "--yes"]) == 0
    assert "deleted alarm thorax-chest-wake" in capsys.readouterr().out
    aws.own += aws.calls
    assert left(aws) == NOTHING


@pytest.mark.parametrize("operation", ["PutMetricAlarm", "CreateModelPackage"])
def test_taken_back_it_leaves_no_alarm(operation: str, aws: Any, light: Path, capsys: Capture) -> None:
    answers_by_s3(aws, b"[0.5]")
    aws.faults[operation] = [(400, "ValidationError", "no")]
    assert deploy.main(words(light, "--async", "--autoscale", "0,2", "--register", "chest-models")) == 1
    assert last_error(capsys).endswith("nothing of it is left on AWS but the bundle in S3")
    assert left(aws) == NOTHING


@pytest.mark.parametrize(
    ("made", "deleted", "gone"),
    [
        (
            "RegisterScalableTarget",
            "DeregisterScalableTarget",
            (400, "ObjectNotFoundException", "No scalable target found for service namespace: sagemaker"),
        ),
        ("PutMetricAlarm", "DeleteAlarms", (404, "ResourceNotFound", "there is no such alarm")),
    ],
)
def test_what_was_never_made_does_not_keep_the_rest(
    made: str, deleted: str, gone: Any, aws: Any, light: Path, capsys: Capture
) -> None:
    answers_by_s3(aws, b"[0.5]")
    aws.faults |= {made: [(400, "ValidationError", "no")], deleted: [gone]}
    assert deploy.main(words(light, "--async", "--autoscale", "0,2")) == 1
    assert aws.sent(deleted)
    assert last_error(capsys).endswith("nothing of it is left on AWS but the bundle in S3")
    assert left(aws)["endpoints"] == []


# -- Faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autoscale", [[], ["--autoscale", "1,2"]])
def test_an_endpoint_that_fails_is_taken_back(
    autoscale: list[str], aws: Any, runtime: Any, light: Path, capsys: Capture
) -> None:
    seen: list[int] = []

    def describe(_: Any) -> dict[str, Any]:
        seen.append(1)
        if len(seen) == 1:
            from botocore.exceptions import ClientError

            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": 'Could not find endpoint "chest".'}},
                "DescribeEndpoint",
            )
        state = "Creating" if len(seen) == 2 else "Failed"
        return {
            "EndpointName": "chest",
            "EndpointStatus": state,
            "EndpointConfigName": "chest-0",
            "FailureReason": "The primary container did not\npass ping",
        }

    aws.answers["DescribeEndpoint"] = describe
    assert deploy.main(words(light, *autoscale)) == 1
    message = last_error(capsys)
    assert (
        "endpoint chest failed: The primary container did not pass ping; its log: CloudWatch"
        " /aws/sagemaker/Endpoints/chest" in message
    )
    assert message.endswith("nothing of it is left on AWS but the bundle in S3")
    assert left(aws) == NOTHING


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, b'{"error": "no weights"}'), 'endpoint chest is up, but the model fails: {"error": "no weights"}'),
        ((200, b"<html>"), "endpoint chest answers an image with b'<html>', which are no probabilities"),
        ((200, b"[7]"), "which are no probabilities"),
        ((200, b"[]"), "which are no probabilities"),
    ],
)
def test_an_endpoint_that_does_not_answer_a_image_is_taken_back(
    answer: Any, message: str, aws: Any, runtime: Any, light: Path, capsys: Capture
) -> None:
    runtime[:] = [answer]
    assert deploy.main(words(light, "--autoscale", "1,2")) == 1
    assert message in last_error(capsys)
    assert left(aws) == NOTHING


def test_a_failed_update_leaves_what_was_there(aws: Any, runtime: Any, light: Path, capsys: Capture) -> None:
    assert deploy.main(words(light)) == 0
    runtime[:] = [(500, b"broken")]
    capsys.readouterr()
    assert deploy.main(words(light)) == 1
    assert last_error(capsys).endswith("endpoint chest answers as before")
    assert left(aws) == NOTHING | {"endpoints": ["chest"], "configurations": ["chest-0"], "models": ["chest-0"]}
    assert aws.client("sagemaker").describe_endpoint(EndpointName="chest")["EndpointConfigName"] == "chest-0"


def test_an_autoscaled_endpoint_keeps_its_machine(
    aws: Any, runtime: Any, light: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deploy.main(words(light, "--autoscale", "1,2")) == 0
    capsys.readouterr()
    aws.own = list(aws.calls)
    aws.calls.clear()
    monkeypatch.setattr("thorax_launch.cli.aws.confirmed", lambda question: pytest.fail("it asked"))
    another = words(light, "--instance-type", "ml.m5.xlarge", "--autoscale", "1,2")
    assert deploy.main([word for word in another if word != "--yes"]) == 1
    assert not {one for one in aws.operations if not one.startswith(("Describe", "Get"))}
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(
        "error: endpoint chest is autoscaled on ml.m5.large, and AWS does not change that to ml.m5.xlarge: first run"
        " `aws "
    )
    service, call, *flags = shlex.split(message.split("`")[1])[1:]
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    scaling = boto3.client(service, region_name=given.pop("--region"))
    getattr(scaling, call.replace("-", "_"))(**{parameter(flag): value for flag, value in given.items()})
    assert deploy.main(another) == 0
    assert aws.sent("UpdateEndpoint")[0]["EndpointConfigName"].startswith("chest-")
    assert (
        aws.client("sagemaker").describe_endpoint_config(EndpointConfigName="chest-2")["ProductionVariants"][0][
            "InstanceType"
        ]
        == "ml.m5.xlarge"
    )
    assert left(aws)["scaled"] == ["endpoint/chest/variant/main"]


def parameter(flag: str) -> str:
    """--resource-id -> ResourceId"""
    return "".join(word.capitalize() for word in flag.removeprefix("--").split("-"))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["--autoscale", "1,2"], []),  # the same machine
        (["--autoscale", "1,2"], ["--capture", "10"]),
        ([], ["--instance-type", "ml.m5.xlarge"]),  # not scaled
    ],
)
def test_other_updates_go_on(first: list[str], then: list[str], aws: Any, runtime: Any, light: Path) -> None:
    assert deploy.main(words(light, *first)) == 0
    assert deploy.main(words(light, *then)) == 0
    assert len(aws.sent("UpdateEndpoint")) == 1


@pytest.mark.parametrize(
    "operation",
    [
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "PutScalingPolicy",
        "CreateModelPackage",
        "InvokeEndpoint",
    ],
)
def test_wherever_aws_refuses_nothing_is_left(
    operation: str, aws: Any, runtime: Any, light: Path, capsys: Capture
) -> None:
    aws.faults[operation] = [
        (400, "ResourceLimitExceeded", "The limit 'ml.m5.large for endpoint usage' is 0 Instances.")
    ]
    assert deploy.main(words(light, "--autoscale", "1,2", "--register", "chest-models")) == 1
    message = last_error(capsys)
    assert f"{operation}: ResourceLimitExceeded: " in message
    assert "servicequotas" in message
    assert left(aws) == NOTHING


def test_ctrl_c_takes_it_back(
    aws: Any, runtime: Any, light: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("thorax_launch.sagemaker.deployment.smoke_test", interrupt)
    assert deploy.main(words(light)) == 130
    assert "stopped by Ctrl-C; nothing of it is left on AWS" in last_error(capsys)
    assert left(aws) == NOTHING


def test_what_cannot_be_taken_back_is_told(aws: Any, runtime: Any, light: Path, capsys: Capture) -> None:
    runtime[:] = [(500, b"broken")]
    aws.faults["DeleteEndpoint"] = [(400, "AccessDeniedException", "not allowed")]
    assert deploy.main(words(light)) == 1
    message = last_error(capsys)
    assert "the model fails: broken" in message
    assert message.endswith("endpoint chest may run and cost; see to it: thorax delete chest")


def test_no_is_taken_for_an_answer(aws: Any, light: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert deploy.main([word for word in words(light) if word != "--yes"]) == 1
    assert not aws.operations & {"PutObject", "CreateModel"}
