"""A cross-validation on SageMaker: one request for each fold, the price of all, and the folds gathered and refitted."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest

import thorax
from aws_jobs import BUCKET, DONE, ROLE
from conftest import TINY, write_images
from thorax_launch import sagemaker
from thorax_launch.cli import folds, train

Capture = pytest.CaptureFixture[str]
WHERE = ["--region", "eu-central-1", "--bucket", BUCKET, "--role", ROLE]
WORDS = ["demo", "--train", "s3://films/train", "--test", "s3://films/test", "--folds", "3", "--job-name", "cv", *WHERE]


def test_a_dry_run_has_the_request_of_each_fold_and_the_price_of_all(offline: Path, capsys: Capture) -> None:
    Path("prices.yaml").write_text("as_of: 2026-11-01\nregion: eu-central-1\nper_hour: {ml.m5.xlarge: 0.5}\n")
    machine = ["--instance-type", "ml.m5.xlarge", "--max-hours", "2", "--prices", "prices.yaml"]
    assert train.main([*WORDS, *machine, "--dry-run"]) == 0
    out, told = capsys.readouterr()
    requests = json.loads(out)
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    for request in requests:
        report = botocore.validate.ParamValidator().validate(request, shape.input_shape)
        assert not report.has_errors(), report.generate_report()
    assert [request["TrainingJobName"] for request in requests] == ["cv-fold-0", "cv-fold-1", "cv-fold-2"]
    numbers = [(r["HyperParameters"]["folds"], r["HyperParameters"]["fold"]) for r in requests]
    assert numbers == [('"3"', '"0"'), ('"3"', '"1"'), ('"3"', '"2"')]
    addresses = [request["CheckpointConfig"]["S3Uri"] for request in requests]
    assert addresses == [f"s3://{BUCKET}/thorax/cv-fold-{k}/checkpoints/" for k in range(3)]
    same = [{k: v for k, v in r.items() if k not in ("TrainingJobName", "CheckpointConfig")} for r in requests]
    for request in same:
        request["HyperParameters"] = {k: v for k, v in request["HyperParameters"].items() if k != "fold"}
    assert same[0] == same[1] == same[2]
    assert "training job cv-fold-0 to cv-fold-2" in told and "3 jobs, 3 at once" in told
    assert "$3.00" in told, told  # three jobs of two hours at half a dollar


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--folds", "1"], "--folds 1 must be 2 to 100"),
        (["--validation", "s3://films/v"], "--validation with --folds 3"),
        (["--refit"], "--refit with --folds on AWS: leave it out; once all jobs are done:"),
        (["--resume", "other"], "--resume with --folds 3 is for one job"),
        (["--set", "folds=4", "--set", "fold=1"], "--set folds=4 with --folds 3: --folds sets it"),
        (["--job-name", "x" * 60], "is too long for --folds"),
    ],
)
def test_what_is_refused(words: list[str], named: str, offline: Path, capsys: Capture) -> None:
    assert train.main([*WORDS, *words, "--dry-run"]) == 1
    assert named in capsys.readouterr().err


def packed(folder: Path, name: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, arcname=f"{name}{file.name}")
    return archive.getvalue()


def test_jobs_are_started_gathered_and_refitted(
    aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 8, seed=1)
    words = [word if word != "3" else "2" for word in WORDS]
    assert train.main([*words, "--yes"]) == 0
    sent = {request["TrainingJobName"]: request for request in aws.sent("CreateTrainingJob")}
    assert list(sent) == ["cv-fold-0", "cv-fold-1"]
    assert "thorax folds gather cv" in capsys.readouterr().out

    state = {"TrainingJobStatus": "InProgress"}
    aws.answers["DescribeTrainingJob"] = lambda asked: {
        **{request["TrainingJobName"]: request for request in aws.sent("CreateTrainingJob")}[asked["TrainingJobName"]],
        **DONE,
        **state,
        "TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{asked['TrainingJobName']}",
        "ModelArtifacts": {"S3ModelArtifacts": f"s3://{BUCKET}/thorax/{asked['TrainingJobName']}/output/model.tar.gz"},
    }
    aws.answers["ListTags"] = lambda _: {"Tags": [{"Key": "project", "Value": "thorax"}]}
    assert folds.main(["gather", "cv", "--region", "eu-central-1"]) == 1
    assert "not all folds have completed: cv-fold-0 is InProgress, cv-fold-1 is InProgress" in capsys.readouterr().err
    state.clear()
    for fold in range(2):
        out = tmp_path / f"job-{fold}"
        settings = {**TINY, "epochs": 1, "threshold_views": 0, "folds": 2, "fold": fold}
        thorax.train(settings, train=tmp_path / "images", output=out)
        for file, body in (("model", packed(out / "model", "")), ("output", packed(out / "output/data", "data/"))):
            key = f"thorax/cv-fold-{fold}/output/{file}.tar.gz"
            aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    capsys.readouterr()
    assert folds.main(["gather", "cv", "--region", "eu-central-1", "--refit", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "out-of-fold: 16 images of 16 patients in 2 folds" in out and "cv-refit is started" in out
    assert (tmp_path / "runs/cv/out-of-fold/out_of_fold.csv").is_file()
    assert (tmp_path / "runs/cv/fold-1/model/bundle.json").is_file()

    refit = aws.sent("CreateTrainingJob")[-1]
    assert refit["TrainingJobName"] == "cv-refit"
    assert "fold" not in refit["HyperParameters"] and "folds" not in refit["HyperParameters"]
    assert refit["HyperParameters"]["epochs"] == '"1"'
    places = {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in refit["InputDataConfig"]}
    assert list(places) == ["train", "test", "held_out"]
    assert places["held_out"] == f"s3://{BUCKET}/thorax/cv/out-of-fold/"
    kept = aws.client("s3").get_object(Bucket=BUCKET, Key="thorax/cv/out-of-fold/held_out.npz")["Body"].read()
    assert kept == (tmp_path / "runs/cv/out-of-fold/held_out.npz").read_bytes()
    # again: nothing is brought twice
    before = len(aws.sent("GetObject"))
    assert len(sagemaker.attach_folds("cv").gather().held_out.ids) == 16
    assert len(aws.sent("GetObject")) == before
