"""What is ours is found whatever tags a user has; a job's own record is sent again whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import cost, train

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--yes"]
IMAGES = ["--train", "s3://films/train", "--test", "s3://films/test"]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("key", ["thorax:made-by", "THORAX:x", "aws:x"])
def test_a_reserved_tag_is_refused(key: str, offline: Path, capsys: Capture) -> None:
    assert train.main(["demo", *IMAGES, *PLACE, "--region", "eu-central-1", "--tag", f"{key}=me", "--dry-run"]) == 1
    assert f"--tag {key}=me: keys that begin with" in capsys.readouterr().err


def test_a_users_project_tag_does_not_replace_the_mark(aws: Any, capsys: Capture) -> None:
    assert train.main(["demo", *IMAGES, *PLACE, "--job-name", "one", "--tag", "project=chest"]) == 0
    tags = {tag["Key"]: tag["Value"] for tag in aws.sent("CreateTrainingJob")[0]["Tags"]}
    assert (tags["project"], tags["thorax:made-by"]) == ("chest", "thorax")


@pytest.mark.parametrize(("flag", "checkpoints"), [("--again", "two"), ("--resume", "one")])
def test_a_record_is_sent_again_whole(flag: str, checkpoints: str, aws: Any, capsys: Capture) -> None:
    secure = ["--subnets", "subnet-1", "--security-groups", "sg-1", "--kms-key", "alias/films", "--encrypt-traffic"]
    more = ["--env", "A=b", "--tag", "team=chest", "--set", "epochs=3", "--spot", "--max-hours", "2"]
    assert train.main(["demo", *IMAGES, *PLACE, *secure, *more, "--job-name", "one"]) == 0
    (sent,) = aws.sent("CreateTrainingJob")
    aws.answers["DescribeTrainingJob"] = lambda _: {
        **sent,
        "TrainingJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/one",
        "TrainingJobStatus": "Stopped",
    }
    aws.answers["ListTags"] = lambda _: {"Tags": sent["Tags"]}
    assert train.main([flag, "one", "--job-name", "two", "--max-hours", "5", "--set", "epochs=4", "--yes"]) == 0
    again = aws.sent("CreateTrainingJob")[1]
    assert again["CheckpointConfig"] == {"S3Uri": f"s3://films/thorax/{checkpoints}/checkpoints/"}
    assert again["StoppingCondition"] == {"MaxRuntimeInSeconds": 18000, "MaxWaitTimeInSeconds": 36000}
    assert again["HyperParameters"] == {**sent["HyperParameters"], "epochs": '"4"'}
    assert sorted(map(str, again["Tags"])) == sorted(map(str, sent["Tags"]))
    changed = {"TrainingJobName", "CheckpointConfig", "StoppingCondition", "HyperParameters", "Tags"}
    assert {k: v for k, v in again.items() if k not in changed} == {k: v for k, v in sent.items() if k not in changed}
    assert train.main([flag, "one", "--instance-type", "ml.g5.xlarge", "--yes"]) == 1
    assert f"--instance-type with {flag} one: that is as it was in the job's own record" in capsys.readouterr().err


def test_the_price_of_a_plan(offline: Path, capsys: Capture) -> None:
    prices = "{as_of: 2026-11-01, region: us-east-1, per_hour: {ml.g5.xlarge: 1.5, ml.m5.large: 0.1}}"
    Path("prices.yaml").write_text(prices)
    assert cost.main(["pneumonia-resnet18", "--prices", "prices.yaml", "--months", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": $")[-1].split(" =")[0] for line in lines[:3]] == ["30.00", "3.00", "146.00"]
    assert "at most $179.00" in lines[3]


def test_the_price_of_the_dearest_of_several_machines(offline: Path, capsys: Capture) -> None:
    prices = "{as_of: 2026-11-01, region: us-east-1, per_hour: {ml.g5.xlarge: 1.5, ml.g6.xlarge: 1.0}}"
    Path("prices.yaml").write_text(prices)
    words = ["demo", "--prices", "prices.yaml", "--months", "0", "--max-hours", "2", "--instance-type"]
    assert cost.main([*words, "ml.g6.xlarge,ml.g5.xlarge"]) == 0
    assert "$3.00 = 2 machine hours x $1.5, the dearest of them" in capsys.readouterr().out
    assert cost.main([*words, "ml.g6.xlarge,ml.g4dn.xlarge"]) == 0
    assert "without ml.g4dn.xlarge, which the price table lacks" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--endpoint", ""], ["--endpoint", "m5.large"], ["--instance-type", "g5.xlarge"]])
def test_what_is_no_machine_has_no_price(words: list[str], offline: Path, capsys: Capture) -> None:
    assert cost.main(["demo", *words]) == 1
    assert capsys.readouterr().err == f"error: {words[1]!r} is no machine's name; write it as ml.m5.large\n"


def test_a_machine_that_no_job_takes_has_no_price(offline: Path, capsys: Capture) -> None:
    assert cost.main(["demo", "--instance-type", "ml.trn1.2xlarge"]) == 1
    assert "Trainium needs AWS's Neuron build" in capsys.readouterr().err
