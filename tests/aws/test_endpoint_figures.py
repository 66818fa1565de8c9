"""`thorax status NAME`: what each variant of an endpoint did, by CloudWatch; a job's state."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aws_scenes import TAGS, Bench, Case, a_shadowed_endpoint, running_job
from thorax_launch.cli import status
from thorax_launch.sagemaker import Endpoint

Capture = pytest.CaptureFixture[str]


def shared_endpoint(aws: Any) -> None:
    """Endpoint chest with the variants old and new, on moto, and CloudWatch's figures of them."""
    sagemaker, cloudwatch = aws.client("sagemaker"), aws.client("cloudwatch")
    role = "arn:aws:iam::123456789012:role/thorax-execution"
    variants = []
    for name, weight in (("old", 3.0), ("new", 1.0)):
        container = {"Image": "image", "ModelDataUrl": f"s3://films/{name}/model.tar.gz"}
        sagemaker.create_model(ModelName=f"chest-0-{name}", ExecutionRoleArn=role, PrimaryContainer=container)
        machine = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 2, "InitialVariantWeight": weight}
        variants.append({"VariantName": name, "ModelName": f"chest-0-{name}", **machine})
    sagemaker.create_endpoint_config(EndpointConfigName="chest-0", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="chest", EndpointConfigName="chest-0", Tags=TAGS)
    now = datetime.now(UTC)
    for name, metric, values, hours in (
        ("old", "Invocations", [1.0] * 5, 1),
        ("old", "Invocations", [1.0] * 7, 30),
        ("old", "ModelLatency", [20_000.0, 40_000.0], 1),
        ("old", "OverheadLatency", [2_000.0], 1),
        ("new", "Invocations", [1.0, 1.0], 2),
        ("new", "Invocation4XXErrors", [1.0], 2),
        ("new", "Invocation5XXErrors", [1.0, 1.0], 2),
    ):
        dimensions = [{"Name": "EndpointName", "Value": "chest"}, {"Name": "VariantName", "Value": name}]
        data = {"MetricName": metric, "Dimensions": dimensions, "Timestamp": now - timedelta(hours=hours)}
        entries = [{**data, "Value": value} for value in values]
        cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=entries)
    aws.calls.clear()


def test_requests_errors_and_latency_of_each_variant(aws: Any, capsys: Capture) -> None:
    shared_endpoint(aws)
    assert status.main(["chest"]) == 0
    first, old, new = capsys.readouterr().out.splitlines()
    assert first.startswith("endpoint chest: InService, since ") and first.endswith("the last 24 hours by CloudWatch:")
    assert old == (
        "  old (75 %, 2 x ml.m5.large): 5 requests, 0 refused (4xx), 0 failed (5xx), 30.0 ms on average, 40.0 ms at"
        " most, 2.0 ms of SageMaker's own; s3://films/old/model.tar.gz"
    )
    assert new == (
        "  new (25 %, 2 x ml.m5.large): 2 requests, 1 refused (4xx), 2 failed (5xx); s3://films/new/model.tar.gz"
    )
    assert status.main(["chest", "--hours", "48", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["requests"] for one in found["variants"]] == [12, 2]
    assert status.main(["chest", "--hours", "0.5"]) == 0
    assert ": 0 requests" in capsys.readouterr().out


def test_from_python(aws: Any) -> None:
    shared_endpoint(aws)
    old, new = Endpoint("chest").figures(hours=24).variants
    assert (old.requests, old.share, new.failed, new.latency_ms) == (5, 75.0, 2, None)


def test_a_shadow_is_shown_last(bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("", "", a_shadowed_endpoint))
    assert status.main(["chest"]) == 0
    _, main, shadow = capsys.readouterr().out.splitlines()
    assert main.startswith("  main (100 %, 1 x ml.m5.xlarge): ") and shadow.startswith("  shadow (shadow, 1 x")


def test_a_job_has_a_state(bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("", "", running_job))
    assert status.main(["one"]) == 0
    assert capsys.readouterr().out == "job one: InProgress\n"
    assert status.main(["one", "--json"]) == 1
    assert "one is a job: --json is for endpoints" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nobody"], 1, "error: there is no endpoint, training job, search, batch transform, processing job or"),
        (["chest", "--hours", "0"], 1, "error: --hours 0 must be above 0 and at most 10920"),
        (["chest", "--hours", "nan"], 1, "error: --hours nan must be above 0"),
        (["--hours", "3"], 2, "--hours goes with the name of an endpoint"),
        (["--json"], 2, "--json goes with the name of an endpoint"),
        (["chest", "--prices", "p.yaml"], 2, "--prices is for the list of all that is billed"),
    ],
)
def test_what_is_refused(words: list[str], code: int, message: str, aws: Any, capsys: Capture) -> None:
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            status.main(words)
    else:
        assert status.main(words) == code
    assert message in capsys.readouterr().err
