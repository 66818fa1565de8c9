"""`prepare ... --instances N`: what is sent, what it costs, what is refused, and what each end leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sagemaker_stand_in import failed
from thorax_launch.cli import follow, prepare

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE]
FILMS = "s3://films/images"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


def refused(capsys: Capture, *words: str) -> str:
    capsys.readouterr()
    assert prepare.main([*words]) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_the_request(offline: Path, capsys: Capture) -> None:
    """Both inputs go to every machine: the machines share units, not what AWS would deal out to them."""
    secure = ["--subnets", "subnet-1", "--security-groups", "sg-1", "--kms-key", "alias/films", "--encrypt-traffic"]
    prices = "{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.m5.xlarge: 0.5}}"
    Path("prices.yaml").write_text(prices)
    words = ["check", FILMS, "--instances", "8", "--job-name", "look", "--region", "eu-central-1", *PLACE, *secure]
    assert prepare.main([*words, "--tag", "project=chest", "--prices", "prices.yaml", "--dry-run"]) == 0
    shown = capsys.readouterr()
    request = json.loads(shown.out)
    tools = request["ProcessingInputs"][0]["S3Input"].pop("S3Uri")
    assert tools.startswith("s3://films/thorax/look/tools/")
    tags = {tag["Key"]: tag["Value"] for tag in request.pop("Tags")}
    assert (tags["thorax:made-by"], tags["project"]) == ("thorax", "chest")
    image = request["AppSpecification"].pop("ImageUri")
    assert image.endswith("/pytorch-training:2.10.0-cpu-py313")
    assert request == {
        "ProcessingJobName": "look",
        "RoleArn": ROLE,
        "AppSpecification": {
            "ContainerEntrypoint": ["/bin/bash", "/opt/ml/processing/tools/prepare.sh"],
            "ContainerArguments": ["look"],
        },
        "ProcessingInputs": [
            {
                "InputName": "tools",
                "S3Input": {"LocalPath": "/opt/ml/processing/tools", "S3DataType": "S3Prefix", "S3InputMode": "File"},
            },
            {
                "InputName": "plan",
                "S3Input": {
                    "S3Uri": "s3://films/thorax/look/plan/",
                    "LocalPath": "/opt/ml/processing/plan",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            },
        ],
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": "ml.m5.xlarge",
                "InstanceCount": 8,
                "VolumeSizeInGB": 50,
                "VolumeKmsKeyId": "alias/films",
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 43200},
        "Environment": {"AWS_DEFAULT_REGION": "eu-central-1", "THORAX_PREPARE": "look"},
        "NetworkConfig": {
            "EnableInterContainerTrafficEncryption": True,
            "EnableNetworkIsolation": False,
            "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        },
    }
    assert "reads:    images: s3://films/images/" in shown.err
    assert "machines: 8 x ml.m5.xlarge, at most 12 h" in shown.err
    assert "at most $48.00 = 96 machine hours x $0.5" in shown.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("check s3://films/images", "is no folder of this machine: give `thorax prepare` --instances N"),
        ("check images --wait", "--wait is for machines on AWS: give --instances N too"),
        ("check images --instance-type ml.m5.large", "--instance-type is for machines on AWS"),
        ("list s3://films/images --out x", "s3://films/images is no folder of this machine: copy it here"),
        ("check --instances 0 s3://films/images", "--instances 0 must be 1 or more"),
        ("check --instances 2", "give either IMAGES, a folder, or --train DIR"),
        ("check --instances 2 s3://films/a --instance-type ml.trn1.32xlarge", "Trainium needs"),
        ("check --instances 2 s3://films/a --instance-type ml.m5.large,ml.m5.xlarge", "takes one type"),
        ("check --instances 2 s3://films/a --network-isolation", "--network-isolation: the machines read images"),
        ("check --instances 2 s3://films/a --max-hours 0.001", "--max-hours 0.001"),
        ("check --instances 2 s3://films/a --data-format x", "--data-format x is not known"),
        ("check --instances 2 s3://films/a --set where", "where"),
        ("check --instances 2 https://films/a", "https://films/a must be a folder or s3://BUCKET/PREFIX"),
        ("check --instances 2 nowhere", "nowhere does not exist"),
        ("pack --instances 2 s3://films/a", "OUT (none): with --instances what is packed goes to S3"),
        (
            "pack --instances 2 s3://films/a s3://other/b",
            "OUT s3://other/b: with --instances what is packed goes to S3",
        ),
        ("pack --instances 2 s3://films/a s3://films/thorax/b --to rec", "--to rec is one file"),
        ("pack --instances 2 s3://films/a s3://films/thorax/b --verify", "--verify reads a packed folder"),
        ("pack --instances 2 s3://films/a s3://films/thorax/b --size 4", "--size 4 is out of range"),
        ("pack --instances 2 s3://films/a s3://films/thorax/b --split none.csv", "--split none.csv cannot be read"),
    ],
)
def test_what_is_refused_before_anything_is_asked(words: str, line: str, offline: Path, capsys: Capture) -> None:
    more = [*PLACE, "--region", "eu-central-1", "--dry-run"] if "--instances" in words else []
    assert line in refused(capsys, *words.split(), *more)


def put(aws: Any, *keys: str) -> None:
    for key in keys:
        aws.client("s3").put_object(Bucket="films", Key=key, Body=b"x")
    aws.calls.clear()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([], "IMAGES: there is nothing below s3://films/images/"),
        (["images-private/a.png"], "IMAGES: there is nothing below s3://films/images/"),
        (["images/a.rec"], "holds many images: several machines share images that are objects of their own"),
        (["images/a", "images/a/b.png"], "s3://films/images/a is an object and a folder too; rename one of them"),
        (["images/a//b.png"], "s3://films/images/a//b.png is no path of a file"),
        (["images/../b.png"], "s3://films/images/../b.png is no path of a file"),
    ],
)
def test_objects_that_cannot_be_shared_are_refused(keys: list[str], line: str, aws: Any, capsys: Capture) -> None:
    put(aws, *keys)
    assert line in refused(capsys, "check", FILMS, "--instances", "2", *PLACE, "--yes")
    assert "CreateProcessingJob" not in aws.operations


def test_out_must_be_empty_and_a_name_is_taken_once(aws: Any, capsys: Capture) -> None:
    put(aws, "images/A/a.png", "images/B/b.png", "thorax/packed/old.tar")
    words = ["pack", FILMS, "s3://films/thorax/packed", "--instances", "2", *PLACE, "--yes"]
    assert "s3://films/thorax/packed/ is not empty (old.tar ...)" in refused(capsys, *words)
    words[2] = "s3://films/thorax/new"
    assert prepare.main([*words, "--job-name", "one"]) == 0
    (sent,) = aws.sent("CreateProcessingJob")
    aws.answers["DescribeProcessingJob"] = lambda _: {**sent, "ProcessingJobStatus": "InProgress"}
    aws.faults["CreateProcessingJob"] = [(400, "ResourceInUse", "Job name must be unique")]
    assert prepare.main([*words, "--job-name", "one"]) == 0
    assert "from this very request: none is started twice" in capsys.readouterr().out
    put(aws, "images/A/late.png")
    assert "--job-name one is taken by a job with another command or on other images" in refused(
        capsys, *words, "--job-name", "one"
    )


def state(aws: Any, *states: dict[str, Any] | None) -> None:
    """What AWS says of the job, look after look; the last stays. None: there is no such job yet."""
    waiting = list(states)

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if found is None:
            raise failed("ValidationException", "Could not find requested job")
        return {**asked, "CreationTime": 0, "Environment": {"THORAX_PREPARE": "look"}, **found}

    aws.answers["DescribeProcessingJob"] = describe


ENDS = [
    (
        "Failed",
        {"FailureReason": "AlgorithmError", "ExitMessage": "machine 2 of 2: no disk"},
        3,
        "machine 2 of 2: no disk",
    ),
    ("Stopped", {}, 4, "was stopped before its end"),
    ("Stopped", {"ExitMessage": ""}, 4, "was stopped before its end"),
]


@pytest.mark.parametrize(("word", "more", "code", "line"), ENDS)
def test_every_end_says_how_to_go_on(
    word: str, more: dict[str, str], code: int, line: str, aws: Any, capsys: Capture
) -> None:
    put(aws, "images/A/a.png", "images/B/b.png")
    words = ["check", FILMS, "--instances", "2", *PLACE, "--yes", "--job-name", "look", "--wait"]
    there = [None, {"ProcessingJobStatus": "InProgress"}, {"ProcessingJobStatus": word, **more}]
    state(aws, *there)
    assert prepare.main(words) == code
    (error,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error: ")]
    assert line in error
    assert "with --resume look" in error
    state(aws, there[-1])
    assert follow.main(["look", "--kind", "processing"]) == code
    assert "the `thorax prepare` that started it with --resume look" in capsys.readouterr().err


def test_resume_joins_what_runs_and_refuses_other_work(aws: Any, capsys: Capture) -> None:
    put(aws, "images/A/a.png", "images/B/b.png")
    words = ["check", FILMS, "--instances", "2", *PLACE, "--yes"]
    assert "there is no such job, s3://films/thorax/look/prepare.json" in refused(capsys, *words, "--resume", "look")
    assert prepare.main([*words, "--job-name", "look"]) == 0
    state(aws, {"ProcessingJobStatus": "InProgress"})
    aws.calls.clear()
    assert prepare.main([*words, "--resume", "look"]) == 0
    assert "processing job look runs: none is started" in capsys.readouterr().out
    assert "CreateProcessingJob" not in aws.operations
    for other, what in (
        (["check", "s3://films/other"], "other images"),
        (["stats", FILMS], "other commands"),
        (["check", FILMS, "--smallest", "9"], "other flags (smallest)"),
    ):
        assert f"that job is about {what}" in refused(capsys, *other, *words[2:], "--resume", "look")
    state(aws, {"ProcessingJobStatus": "Stopped"})
    assert prepare.main([*words, "--resume", "look", "--job-name", "look-2", "--instances", "5"]) == 0
    (sent,) = aws.sent("CreateProcessingJob")
    assert sent["ProcessingInputs"][1]["S3Input"]["S3Uri"] == "s3://films/thorax/look/plan/"
    assert sent["Environment"]["THORAX_PREPARE"] == "look"


def test_a_folder_is_uploaded_once(aws: Any, few: Path, capsys: Capture) -> None:
    words = ["stats", str(few / "train"), "--instances", "2", *PLACE, "--yes"]
    assert prepare.main([*words, "--job-name", "one"]) == 0
    assert prepare.main([*words, "--job-name", "two"]) == 0
    images = [put["Key"] for put in aws.sent("PutObject") if put["Key"].startswith("thorax/data/")]
    assert len(images) == len(set(images)) == sum(file.is_file() for file in (few / "train").rglob("*"))
