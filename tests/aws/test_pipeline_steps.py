"""Each step of a pipeline: its machine, its cost, what is tried again or skipped, and how a run ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import pipeline

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
IMAGES = ["--train", "s3://films/train", "--test", "s3://films/test", "--group", "chest-models"]
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE]
Capture = pytest.CaptureFixture[str]


def dry(capsys: Capture, *more: str) -> dict[str, Any]:
    assert pipeline.main(["pneumonia-resnet18", *IMAGES, *PLACE, "--dry-run", *more]) == 0, capsys.readouterr().err
    definition: dict[str, Any] = json.loads(capsys.readouterr().out)
    return definition


def test_a_small_machine_checks_and_evaluates(offline: Path, capsys: Capture) -> None:
    words = ["pneumonia-resnet18", *IMAGES, *PLACE, "--dry-run", "--instance-type", "ml.p4d.24xlarge"]
    assert pipeline.main([*words, "--max-hours", "72"]) == 0
    shown = capsys.readouterr()
    definition = json.loads(shown.out)
    prepare, train, evaluate, better = definition["Steps"]
    defaults = {parameter["Name"]: parameter["DefaultValue"] for parameter in definition["Parameters"]}
    assert defaults == {
        "BestAuc": 0.5,
        "TrainInstanceType": "ml.p4d.24xlarge",
        "StepInstanceType": "ml.m5.xlarge",
        "TrainData": "s3://films/train/",
        "TestData": "s3://films/test/",
    }
    for step in (prepare, evaluate):
        assert step["Arguments"]["StoppingCondition"] == {"MaxRuntimeInSeconds": 4 * 3600}
        assert "-cpu-" in step["Arguments"]["AppSpecification"]["ImageUri"]
    assert "-gpu-" in train["Arguments"]["AlgorithmSpecification"]["TrainingImage"]
    sources = [one["DataSource"]["S3DataSource"]["S3Uri"] for one in train["Arguments"]["InputDataConfig"]]
    assert sources == [{"Get": "Parameters.TrainData"}, {"Get": "Parameters.TestData"}]
    assert all(step["RetryPolicies"][1]["ExceptionType"][1] == "SageMaker.CAPACITY_ERROR" for step in (prepare, train))
    (end,) = better["Arguments"]["ElseSteps"]
    assert end["Type"] == "Fail"
    assert end["Arguments"]["ErrorMessage"]["Std:Join"]["Values"][0] == "The test AUC of this bundle, "
    costs = [line for line in shown.err.splitlines() if line.startswith("machines:")]
    assert costs == [
        "machines: 1 x ml.m5.xlarge, at most 4 h",
        "machines: 1 x ml.m5.xlarge, at most 4 h",
        "machines: 1 x ml.p4d.24xlarge, at most 72 h",
    ]


@pytest.mark.parametrize(
    ("flag", "value", "line"),
    [
        ("--step-instance-type", "ml.trn1.2xlarge", "--step-instance-type ml.trn1.2xlarge: Trainium needs"),
        ("--step-instance-type", "ml.m5.large,ml.m5.xlarge", "a step takes one type"),
        ("--step-hours", "0", "--step-hours 0 is less than a minute"),
        ("--step-hours", "0.001", "--step-hours 0.001 is less than a minute"),
    ],
)
def test_a_machine_or_a_time_that_no_step_can_have(
    flag: str, value: str, line: str, offline: Path, capsys: Capture
) -> None:
    assert pipeline.main(["pneumonia-resnet18", *IMAGES, *PLACE, "--dry-run", flag, value]) == 1
    assert line in capsys.readouterr().err


def test_a_check_may_be_kept_for_the_next_run(offline: Path, capsys: Capture) -> None:
    prepare, train, evaluate = dry(capsys, "--cache-days", "7")["Steps"][:3]
    assert prepare["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P7D"}
    output = prepare["Arguments"]["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]
    assert output == "s3://films/thorax/thorax-pneumonia-resnet18/check"
    assert not {"CacheConfig"} & (train.keys() | evaluate.keys())


def test_a_pipeline_that_was_deleted_can_be_made_again(aws: Any, capsys: Capture) -> None:
    """AWS remembers a token longer than the pipeline, and would answer with the one that is gone."""
    words = ["pneumonia-resnet18", *IMAGES, *PLACE, "--yes"]
    assert pipeline.main(words) == 0
    aws.client("sagemaker").delete_pipeline(PipelineName="thorax-pneumonia-resnet18", ClientRequestToken="x" * 32)
    aws.calls.pop()
    assert pipeline.main(words) == 0
    tokens = [made["ClientRequestToken"] for made in aws.sent("CreatePipeline")]
    assert len(set(tokens)) == 2
    assert all(len(token) >= 32 for token in tokens)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:sagemaker")
def test_the_keys_of_a_step_are_those_of_the_sdk(
    offline: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's own classes for pipelines write the same for retries, a kept result and a run that fails."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")  # they make clients when they are imported
    from sagemaker.mlops.workflow.fail_step import FailStep
    from sagemaker.mlops.workflow.retry import (
        SageMakerJobExceptionTypeEnum,
        SageMakerJobStepRetryPolicy,
        StepExceptionTypeEnum,
        StepRetryPolicy,
    )
    from sagemaker.mlops.workflow.steps import CacheConfig

    prepare, _, _, better = dry(capsys, "--cache-days", "7")["Steps"]
    faults = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
    of_jobs = SageMakerJobExceptionTypeEnum
    machines = [of_jobs.INTERNAL_ERROR, of_jobs.CAPACITY_ERROR, of_jobs.RESOURCE_LIMIT]
    assert prepare["RetryPolicies"] == [
        StepRetryPolicy(faults, interval_seconds=30, max_attempts=5).to_request(),
        SageMakerJobStepRetryPolicy(machines, interval_seconds=300, max_attempts=4).to_request(),
    ]
    cache = CacheConfig(enable_caching=True, expire_after="P7D")
    assert {"CacheConfig": prepare["CacheConfig"]} == cache.config
    (end,) = better["Arguments"]["ElseSteps"]
    assert FailStep(name="NotBetter", error_message="x").to_request() == {**end, "Arguments": {"ErrorMessage": "x"}}
