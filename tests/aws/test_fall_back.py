"""Training on the first machine that AWS has, and folders that do not match their neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import train, tune

PLACE = ["--bucket", "films", "--role", "arn:aws:iam::123456789012:role/thorax-execution", "--region", "eu-central-1"]
WORDS = ["pneumonia-resnet18", "--train", "s3://films/train", *PLACE]
Capture = pytest.CaptureFixture[str]


def request(capsys: Capture, *more: str) -> dict[str, Any]:
    assert train.main([*WORDS, "--dry-run", *more]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_job_may_name_several_machines(offline: Path, capsys: Capture, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.g5.xlarge: 1.5, ml.g6.xlarge: 1.0}}")
    more = ["--instance-type", "ml.g5.xlarge,ml.g6.xlarge", "--max-hours", "2", "--prices", str(prices)]
    assert train.main([*WORDS, "--dry-run", *more]) == 0
    shown = capsys.readouterr()
    resources = json.loads(shown.out)["ResourceConfig"]
    assert resources["InstancePreferences"] == [{"InstanceType": "ml.g5.xlarge"}, {"InstanceType": "ml.g6.xlarge"}]
    assert resources["InstanceCount"] == 1
    assert "InstanceType" not in resources
    assert "at most $3.00" in shown.err
    assert "or, where AWS has none of these:" in shown.err
    assert "at most $2.00" in shown.err


def test_it_is_sent_as_it_is_shown(aws: Any, capsys: Capture) -> None:
    more = ["--instance-type", "ml.g5.xlarge,ml.g6.xlarge", "--job-name", "one"]
    shown = request(capsys, *more)
    aws.answers["CreateTrainingJob"] = lambda _: {"TrainingJobArn": "arn:aws:sagemaker:x"}
    assert train.main([*WORDS, *more, "--yes"]) == 0
    assert aws.sent("CreateTrainingJob")[0] | {"Tags": []} == shown | {"Tags": []}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--instance-type", "ml.g5.xlarge,ml.m5.xlarge"], "--instance-type ml.g5.xlarge,ml.m5.xlarge: name up to 5"),
        (["--instance-type", "ml.g5.xlarge,ml.g6.xlarge", "--spot"], "--spot with --instance-type"),
        (["--instance-type", "ml.trn1.2xlarge"], "--instance-type ml.trn1.2xlarge: Trainium needs AWS's Neuron build"),
        (["--instance-type", "ml.p2.xlarge"], "--instance-type ml.p2.xlarge: torch dropped its Kepler GPUs"),
    ],
)
def test_what_is_refused(more: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert train.main([*WORDS, "--dry-run", *more]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_search_may_name_several_machines(offline: Path, capsys: Capture) -> None:
    """AWS's HyperParameterTuningResourceConfig: types in the order of preference, and no other machine beside them."""
    more = ["--instance-type", "ml.g5.xlarge,ml.g6.xlarge", "--volume-gb", "80"]
    assert tune.main([*WORDS, "--dry-run", *more]) == 0
    definition = json.loads(capsys.readouterr().out)["TrainingJobDefinition"]
    each = {"InstanceCount": 1, "VolumeSizeInGB": 80}
    assert definition["HyperParameterTuningResourceConfig"] == {
        "AllocationStrategy": "Prioritized",
        "InstanceConfigs": [{"InstanceType": "ml.g5.xlarge", **each}, {"InstanceType": "ml.g6.xlarge", **each}],
    }
    assert "ResourceConfig" not in definition


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3://films/train", "s3://films/train/"),
        ("s3://films/train.v2", "s3://films/train.v2/"),
        ("s3://films/w/resnet.pt", "s3://films/w/resnet.pt"),
    ],
)
def test_a_folder_does_not_match_its_neighbours(given: str, expected: str, offline: Path, capsys: Capture) -> None:
    """S3 matches by the first letters: train is train-private too, and train.v2 is train.v2-private."""
    channels = request(capsys, "--train", given)["InputDataConfig"]
    assert channels[0]["DataSource"]["S3DataSource"]["S3Uri"] == expected
