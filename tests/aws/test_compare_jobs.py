"""thorax compare with training jobs on AWS, by their names, against moto."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import saved_runs
from aws_jobs import BUCKET, DONE
from saved_runs import FINDINGS
from thorax_launch.cli import compare, train

Capture = pytest.CaptureFixture[str]
PRICES = "as_of: 2026-11-01\nregion: eu-central-1\nper_hour: {ml.g4dn.xlarge: 0.9}\n"


def put(aws: Any, job: Path, name: str) -> None:
    """The job's output.tar.gz, as SageMaker writes it from output/data."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file in (job / "output" / "data").iterdir():
            tar.add(file, arcname=f"data/{file.name}")
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"thorax/{name}/output/output.tar.gz", Body=archive.getvalue())


@pytest.fixture
def jobs(aws: Any, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Two jobs on AWS, one of them on two machines, and one here."""
    described = {}
    for name, skill, count in (("chest-32", 1.0, 1), ("chest-16", 2.0, 2)):
        put(aws, saved_runs.job(tmp_path / name, *saved_runs.answers(FINDINGS, skill), FINDINGS), name)
        machines = {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": count, "VolumeSizeInGB": 30}
        model = {"S3ModelArtifacts": f"s3://{BUCKET}/thorax/{name}/output/model.tar.gz"}
        described[name] = DONE | {"TrainingJobName": name, "ResourceConfig": machines, "ModelArtifacts": model}
    saved_runs.job(tmp_path / "here" / "local", *saved_runs.answers(FINDINGS, 1.5), FINDINGS)
    (tmp_path / "prices.yaml").write_text(PRICES)
    aws.answers["DescribeTrainingJob"] = lambda asked: described[asked["TrainingJobName"]]
    aws.calls.clear()
    return described


def test_jobs_by_name_with_time_and_cost(aws: Any, jobs: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    words = ["chest-32", "half=chest-16", "local", "--runs", str(tmp_path / "here"), "--resamples", "20"]
    assert compare.main([*words, "--prices", str(tmp_path / "prices.yaml"), "--json", str(tmp_path / "c.json")]) == 0
    shown = capsys.readouterr().out
    assert "120 images of 60 patients that all 3 runs have" in shown
    assert re.search(r"Machines +1 x ml.g4dn.xlarge +2 x ml.g4dn.xlarge +-", shown)
    assert re.search(r"Training minutes +2.00 +2.00 +2.00", shown)
    assert re.search(r"Cost in dollars +0.01 +0.03 +0.20", shown)  # 60 s billed at 0.9 an hour, of one and of two
    stored = json.loads((tmp_path / "c.json").read_text())
    assert [run["name"] for run in stored["runs"]] == ["chest-32", "half", "local"]
    assert stored["runs"][1]["difference"]["macro"]["difference"] > 0
    assert {"DescribeTrainingJob", "GetObject"} <= aws.operations <= {"DescribeTrainingJob", "HeadObject", "GetObject"}


def test_runs_in_s3(aws: Any, jobs: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "chest-16" / "output" / "data" / "predictions.csv"
    aws.client("s3").put_object(Bucket=BUCKET, Key="thorax/theirs.csv", Body=table.read_bytes())
    first = f"s3://{BUCKET}/thorax/chest-16/output/model.tar.gz"
    words = [first, f"b=s3://{BUCKET}/thorax/theirs.csv", "--resamples", "0", "--json", str(tmp_path / "c.json")]
    assert compare.main(words) == 0
    stored = json.loads((tmp_path / "c.json").read_text())
    assert [(run["name"], run["place"]) for run in stored["runs"]] == [
        ("chest-16", first),
        ("b", f"s3://{BUCKET}/thorax/theirs.csv"),
    ]
    assert stored["runs"][0]["scores"]["macro"] == stored["runs"][1]["scores"]["macro"]
    assert compare.main([f"s3://{BUCKET}/thorax/none.csv"]) == 1
    assert capsys.readouterr().err == f"error: there is no s3://{BUCKET}/thorax/none.csv\n"


def test_what_is_no_job_is_one_line(aws: Any, jobs: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    jobs["chest-16"]["TrainingJobStatus"] = "InProgress"
    assert compare.main(["chest-32", "chest-16", "--runs", str(tmp_path / "here")]) == 1
    assert "on AWS: job chest-16 is InProgress: only a job that completed is compared" in capsys.readouterr().err
    del aws.answers["DescribeTrainingJob"]
    assert compare.main(["nobody", "--runs", str(tmp_path / "here")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: nobody is no run: there is no such file or folder") and "on AWS:" in error
    aws.faults["DescribeTrainingJob"] = [(400, "AccessDeniedException", "no")]
    assert compare.main(["nobody", "--runs", str(tmp_path / "here")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_job_with_a_price_table_knows_what_an_epoch_costs(aws: Any, few: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("as_of: 2026-11-01\nregion: eu-central-1\nper_hour: {ml.g5.xlarge: 1.2}\n")
    machines = ["--instance-type", "ml.g5.xlarge", "--instance-count", "2", "--prices", str(tmp_path / "prices.yaml")]
    words = ["pneumonia-resnet18", "--train", str(few / "train"), "--bucket", BUCKET, "--role", "thorax-execution"]
    for more, cost in (([], "2.400000"), (["--spot"], None)):
        name = f"job{len(more)}"
        assert train.main([*words, "--job-name", name, "--yes", *machines, *more]) == 0
        sent = aws.sent("CreateTrainingJob")[-1]
        assert sent["TrainingJobName"] == name and sent.get("Environment", {}).get("THORAX_PRICE_PER_HOUR") == cost
