"""batch.py against moto: a batch transform from a folder of images to the scored table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import images
from thorax.serving.classifier import Classifier
from thorax.serving.pipeline import answer
from thorax.serving.request import RawRequest
from thorax_launch.cli import batch
from thorax_launch.sagemaker.package import packed, source_files

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", BUCKET, "--role", "thorax-execution", "--yes"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


def does_the_job(aws: Any, bundle: Path, status: str = "Completed") -> None:
    """SageMaker's part, on the second look: what the requests name is read from S3 and answered by the bundle."""
    looks: list[int] = []

    def describe(_: Any) -> dict[str, Any]:
        looks.append(1)
        if len(looks) < 2:
            return {"TransformJobName": "one", "TransformJobStatus": "InProgress"}
        if status == "Completed":
            known = list(aws.calls)
            transform(aws, bundle)
            aws.calls[:] = known
        return {
            "TransformJobName": "one",
            "TransformJobStatus": status,
            "FailureReason": "ClientError: 400\nsee the log",
        }

    aws.answers["DescribeTransformJob"] = describe


def transform(aws: Any, bundle: Path) -> None:
    (job,) = aws.sent("CreateTransformJob")
    classifier, s3 = Classifier.load(bundle, threads=1), aws.client("s3")
    bucket, _, prefix = (
        job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")
    )
    to = job["TransformOutput"]["S3OutputPath"].removeprefix(f"s3://{BUCKET}/")
    for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        body = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        reply = answer(
            classifier, RawRequest(body, job["TransformInput"]["ContentType"], job["TransformOutput"]["Accept"])
        )
        assert reply.status == 200
        s3.put_object(Bucket=BUCKET, Key=f"{to}{one['Key'].removeprefix(prefix)}.out", Body=reply.body)


def shelf(folder: Path) -> Path:
    return images.folders(folder, NORMAL=["a.png", "b.png"], PNEUMONIA=["c.png"])


@pytest.mark.parametrize("kind", ["folder", "archive", "address"])
def test_from_images_to_the_table(kind: str, aws: Any, whole: Path, tmp_path: Path, capsys: Capture) -> None:
    given, data = str(whole), str(shelf(tmp_path / "test"))
    if kind != "folder":
        (tmp_path / "model.tar.gz").write_bytes(packed(source_files(whole), 1))
        given = str(tmp_path / "model.tar.gz")
    if kind == "address":
        s3 = aws.client("s3")
        s3.upload_file(given, BUCKET, "thorax/job/output/model.tar.gz")
        for path in Path(data).rglob("*.png"):
            s3.upload_file(str(path), BUCKET, f"thorax/test/{path.relative_to(data)}")
        given, data = f"s3://{BUCKET}/thorax/job/output/model.tar.gz", f"s3://{BUCKET}/thorax/test"
    aws.calls.clear()
    does_the_job(aws, whole)
    out = tmp_path / "table.csv"
    assert batch.main([given, "--data", data, "--out", str(out), "--wait", "--job-name", "one", *PLACE]) == 0
    rows = list(csv.DictReader(out.open()))
    assert [(row["id"], row["target:PNEUMONIA"]) for row in rows] == [
        ("NORMAL/a.png", "0"),
        ("NORMAL/b.png", "0"),
        ("PNEUMONIA/c.png", "1"),
    ]
    expected = Classifier.load(whole, threads=1).predict([tmp_path / "test" / row["id"] for row in rows])[:, 0]
    assert [float(row["probability:PNEUMONIA"]) for row in rows] == pytest.approx(list(expected), abs=1e-5)
    assert "deleted model one" in capsys.readouterr().out
    aws.own = list(aws.calls)
    assert aws.client("sagemaker").list_models()["Models"] == []


def test_what_is_sent_is_what_the_dry_run_shows(aws: Any, light: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [
        str(light),
        "--data",
        "s3://films/test",
        "--out",
        "t.csv",
        "--job-name",
        "one",
        *PLACE,
        "--kms-key",
        "alias/films",
        "--image",
        "torchserve",
        "--concurrent",
        "16",
        "--instance-count",
        "2",
        "--instance-type",
        "ml.c5.xlarge",
    ]
    assert batch.main([*words, "--role", ROLE, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert aws.calls == []
    assert "machines: 2 x ml.c5.xlarge, billed every hour until the last image is scored" in shown.err
    assert batch.main(words) == 0
    assert "--outputs out --out t.csv" in capsys.readouterr().out
    for operation, parameters in json.loads(shown.out).items():
        assert aws.sent(operation) == [parameters]
    assert (
        aws.sent("CreateTransformJob")[0]["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://films/test/"
    )


def test_a_job_that_fails_tells_why(aws: Any, light: Path, tmp_path: Path, capsys: Capture) -> None:
    does_the_job(aws, light, "Failed")
    assert (
        batch.main([str(light), "--data", "s3://films/test", "--out", "t.csv", "--wait", "--job-name", "one", *PLACE])
        == 1
    )
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: job one failed: ClientError: 400 see the log; ")
    assert message.endswith("what it did answer is in s3://films/thorax/one/scores/")
    assert not Path("t.csv").exists()


def test_a_job_that_is_refused_leaves_no_model(aws: Any, light: Path, capsys: Capture) -> None:
    aws.faults["CreateTransformJob"] = [(400, "ResourceLimitExceeded", "is 0")]
    assert batch.main([str(light), "--data", "s3://films/test", "--out", "t.csv", "--job-name", "one", *PLACE]) == 1
    assert "CreateTransformJob: ResourceLimitExceeded" in capsys.readouterr().err
    aws.own = list(aws.calls)
    assert aws.client("sagemaker").list_models()["Models"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--concurrent", "20"], "--concurrent 20 x --payload-mb 6 is above the 100 MB"),
        (["--concurrent", "0"], "--concurrent 0 must be 1 or more"),
        (["--job-name", "a_b"], "TransformJobName='a_b' has a character"),
        (["--data", "missing"], "--data missing does not exist"),
    ],
)
def test_a_wrong_flag_is_one_line(words: list[str], message: str, offline: Path, light: Path, capsys: Capture) -> None:
    plain = [
        str(light),
        "--data",
        "s3://films/test",
        "--out",
        "t.csv",
        "--bucket",
        BUCKET,
        "--role",
        ROLE,
        "--region",
        "eu-central-1",
        "--dry-run",
    ]
    assert batch.main([*plain, *words]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
