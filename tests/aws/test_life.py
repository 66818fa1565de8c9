"""Jobs and searches against moto.

What is uploaded, what is sent, what a person reads, and every way in which it fails.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from aws_jobs import BUCKET, DONE, ROLE, job, states
from thorax_launch.cli import follow, train, tune

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


# -- What is sent ------------------------------------------------------------------------------------------------------


def test_a_training_job_is_sent_as_the_dry_run_shows_it(aws: Any, few: Path, capsys: Capture) -> None:
    everything = [
        "--debugger",
        "--profiler",
        "--subnets",
        "subnet-1",
        "--security-groups",
        "sg-1",
        "--kms-key",
        "alias/films",
        "--encrypt-traffic",
    ]
    assert train.main(job(few, *everything)) == 0
    assert capsys.readouterr().out == "TrainingJob one is started in eu-central-1\n"
    assert train.main([*job(few, *everything), "--role", ROLE, "--dry-run"]) == 0
    (sent,) = aws.sent("CreateTrainingJob")
    assert sent == json.loads(capsys.readouterr().out)
    assert sent["RoleArn"] == ROLE


def test_what_the_request_names_is_there(aws: Any, few: Path, capsys: Capture) -> None:
    assert train.main(job(few, "--kms-key", "alias/films")) == 0
    (sent,) = aws.sent("CreateTrainingJob")
    s3 = aws.client("s3")
    for channel in sent["InputDataConfig"]:
        prefix = channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
        there = {
            one["Key"].removeprefix(prefix): one["Size"]
            for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        }
        folder = few / channel["ChannelName"]
        assert there == {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.png")}
    source = json.loads(sent["HyperParameters"]["sagemaker_submit_directory"]).removeprefix(f"s3://{BUCKET}/")
    assert s3.head_object(Bucket=BUCKET, Key=source)["SSEKMSKeyId"] == "alias/films"
    assert all(one["SSEKMSKeyId"] == "alias/films" for one in aws.sent("PutObject"))


def test_images_are_sent_once(aws: Any, few: Path, capsys: Capture) -> None:
    assert train.main(job(few)) == 0
    before = len(aws.sent("PutObject"))
    again = [word if word != "one" else "two" for word in job(few)]
    assert train.main(again) == 0
    (sent,) = [one["Key"] for one in aws.sent("PutObject")[before:]]
    assert re.fullmatch("thorax/two/source/[0-9a-f]{16}/sourcedir.tar.gz", sent)


def test_a_search_is_sent_whole(aws: Any, few: Path, capsys: Capture) -> None:
    secure = [
        "--subnets",
        "subnet-1",
        "--security-groups",
        "sg-1",
        "--volume-kms-key",
        "alias/disk",
        "--encrypt-traffic",
        "--spot",
    ]
    words = job(few, *secure, "--instance-type", "ml.p3.2xlarge")
    assert tune.main(words) == 0
    assert "thorax leaderboard one" in capsys.readouterr().out
    assert tune.main([*words, "--role", ROLE, "--dry-run"]) == 0
    (sent,) = aws.sent("CreateHyperParameterTuningJob")
    assert sent == json.loads(capsys.readouterr().out)
    assert sent["TrainingJobDefinition"]["ResourceConfig"]["VolumeKmsKeyId"] == "alias/disk"


def test_no_is_taken_for_an_answer(aws: Any, few: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert train.main([word for word in job(few) if word != "--yes"]) == 1
    assert not aws.operations & {"PutObject", "CreateTrainingJob"}
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert train.main([word for word in job(few) if word != "--yes"]) == 0


def test_without_a_terminal_yes_must_be_said(
    aws: Any, few: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert train.main([word for word in job(few) if word != "--yes"]) == 1
    assert capsys.readouterr().err.endswith(
        "error: no terminal to confirm on: give --yes to go ahead, or --dry-run to look only\n"
    )
    assert "CreateTrainingJob" not in aws.operations


def test_the_role_of_a_notebook_is_taken(aws: Any, few: Path, capsys: Capture) -> None:
    aws.answers["GetCallerIdentity"] = lambda _: {
        "Account": "123456789012",
        "Arn": "arn:aws:sts::123456789012:assumed-role/thorax-execution/me",
    }
    assert train.main([word for word in job(few) if word not in ("--role", "thorax-execution")]) == 0
    assert aws.sent("CreateTrainingJob")[0]["RoleArn"] == ROLE


# -- Watching ----------------------------------------------------------------------------------------------------------


def write_log(aws: Any, name: str, *machines: list[str]) -> None:
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    for number, lines in enumerate(machines, 1):
        stream = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamName": f"{name}/algo-{number}-17"}
        logs.create_log_stream(**stream)
        logs.put_log_events(
            **stream,
            logEvents=[{"timestamp": int(time.time() * 1000) + i, "message": line} for i, line in enumerate(lines)],
        )
    aws.calls.clear()


RUNNING = {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}


def test_the_log_is_shown_as_it_comes(aws: Any, capsys: Capture) -> None:
    write_log(
        aws, "one", ["epoch 1/2: validation_auc=0.900000", "epoch 2/2: validation_auc=0.950000"], ["second machine"]
    )
    states(aws, {**RUNNING, "SecondaryStatus": "Starting"}, RUNNING, DONE)
    assert follow.main(["one"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job one: InProgress Starting",
        "[algo-1] epoch 1/2: validation_auc=0.900000",
        "[algo-1] epoch 2/2: validation_auc=0.950000",
        "[algo-2] second machine",
        "job one: InProgress Training",
        "job one: Completed Completed",
        "job one: 2.0 min of training, 1.0 min billed per machine",
        "bundle: s3://films/thorax/one/output/model.tar.gz",
    ]


def test_a_failed_job_tells_why(aws: Any, capsys: Capture) -> None:
    write_log(aws, "one", ["reading images", "error: labels=A names one label"])
    states(
        aws, {"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: labels=A\nnames one label, exit code: 1"}
    )
    assert follow.main(["one"]) == 3
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "error: job one failed: AlgorithmError: labels=A names one label, exit code: 1; last lines of its log above; "
        "more: CloudWatch /aws/sagemaker/TrainingJobs; to go on from its checkpoints: thorax train --resume one"
    ]
    assert shown.out.splitlines()[-1] == "error: labels=A names one label"


def test_wait_watches_the_job_that_was_sent(aws: Any, few: Path, capsys: Capture) -> None:
    assert train.main(job(few, "--wait")) == 0
    assert "job one: Completed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message", "stopped"),
    [("y", "is being stopped", True), ("n", "goes on; to watch it again: thorax follow one", False)],
)
def test_ctrl_c_asks(
    answer: str, message: str, stopped: bool, aws: Any, few: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train.main(job(few)) == 0
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)

    looks = []

    def interrupt(_: Any) -> Any:
        looks.append(1)
        if len(looks) > 1:
            raise KeyboardInterrupt
        return {"TrainingJobName": "one", **RUNNING}

    aws.answers["DescribeTrainingJob"] = interrupt
    aws.answers["StopTrainingJob"] = lambda _: {}
    assert follow.main(["one"]) == 130
    assert message in capsys.readouterr().out
    assert bool(aws.sent("StopTrainingJob")) == stopped


def test_a_lost_line_leaves_the_job_alone(aws: Any, capsys: Capture) -> None:
    lost, looks = EndpointConnectionError(endpoint_url="https://sagemaker"), []

    def breaks(_: Any) -> Any:
        looks.append(1)
        if len(looks) > 1:
            raise lost
        return {"TrainingJobName": "one", **RUNNING}

    aws.answers["DescribeTrainingJob"] = breaks
    assert follow.main(["one"]) == 9
    shown = capsys.readouterr().err.splitlines()
    assert (
        shown[-1]
        == "error: the line to AWS is lost (EndpointConnectionError); job one goes on there; to watch it again: thorax"
        " follow one"
    )
    assert len(shown) == 5
    assert "StopTrainingJob" not in aws.operations


def test_a_line_that_comes_back_is_used(aws: Any, few: Path, capsys: Capture) -> None:
    assert train.main(job(few)) == 0
    lost = EndpointConnectionError(endpoint_url="https://sagemaker")
    looks = [RUNNING, lost, DONE]

    def breaks(_: Any) -> Any:
        if isinstance(found := looks.pop(0), Exception):
            raise found
        return {"TrainingJobName": "one", **found}

    aws.answers["DescribeTrainingJob"] = breaks
    assert follow.main(["one"]) == 0
    assert capsys.readouterr().err.count("no answer from AWS") == 1


# -- Faults ------------------------------------------------------------------------------------------------------------

QUOTA = (
    "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances, with a request delta of 1"
    " Instances."
)


@pytest.mark.parametrize(
    ("operation", "fault", "message"),
    [
        (
            "PutObject",
            (403, "AccessDenied", "Access Denied"),
            "PutObject: AccessDenied: Access Denied; your user lacks a permission: `thorax iam launcher`",
        ),
        (
            "ListObjectsV2",
            (404, "NoSuchBucket", "The specified bucket does not exist"),
            "bucket films does not exist: make it (aws s3 mb s3://films --region eu-central-1)",
        ),
        (
            "GetRole",
            (404, "NoSuchEntity", "The role cannot be found."),
            "role thorax-execution must exist and trust sagemaker.amazonaws.com: docs/aws.md",
        ),
        (
            "CreateTrainingJob",
            (400, "ValidationException", "Could not assume role"),
            f"role {ROLE} must exist and trust",
        ),
        (
            "CreateTrainingJob",
            (400, "ResourceLimitExceeded", QUOTA),
            "https://eu-central-1.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas",
        ),
        ("CreateTrainingJob", (400, "ThrottlingException", "Rate exceeded"), "AWS is busy; it was tried ten times"),
        (
            "CreateTrainingJob",
            (400, "ExpiredTokenException", "The security token is expired"),
            "your credentials are not valid any more",
        ),
        (
            "CreateTrainingJob",
            EndpointConnectionError(endpoint_url="https://x"),
            "nothing was started; the same command with --job-name one never starts two",
        ),
        ("GetCallerIdentity", EndpointConnectionError(endpoint_url="https://x"), "AWS cannot be reached"),
    ],
)
def test_what_aws_refuses_is_one_line(
    operation: str, fault: Any, message: str, aws: Any, few: Path, capsys: Capture
) -> None:
    aws.faults[operation] = [fault]
    assert train.main(job(few)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]
    assert sum(line.startswith("error: ") for line in lines) == 1


def test_a_name_that_another_job_has_is_refused(aws: Any, few: Path, capsys: Capture) -> None:
    assert train.main(job(few)) == 0
    aws.faults["CreateTrainingJob"] = [(400, "ResourceInUse", "Training job names must be unique")]
    assert train.main([*job(few), "--max-hours", "7"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    said = "the name one is taken by a job with another request (Completed): give another --job-name"
    assert error.startswith(f"error: {said}")


def test_throttling_is_waited_for(aws: Any, few: Path, capsys: Capture) -> None:
    aws.faults["CreateTrainingJob"] = [(400, "ThrottlingException", "Rate exceeded")] * 4 + [None]
    assert train.main(job(few)) == 0


def test_a_job_that_cannot_be_described_is_started_all_the_same(aws: Any, few: Path, capsys: Capture) -> None:
    aws.faults["DescribeTrainingJob"] = [(400, "AccessDeniedException", "not allowed")]
    assert train.main(job(few)) == 0
    assert "TrainingJob one is started" in capsys.readouterr().out
