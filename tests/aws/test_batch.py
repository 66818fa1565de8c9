"""batch.py against moto: a batch transform from a folder of images to the scored table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import images
from aws_scenes import Bench, Case
from sagemaker_stand_in import failed
from thorax.serving.classifier import Classifier
from thorax.serving.pipeline import answer
from thorax.serving.request import RawRequest
from thorax.serving.settings import ServerSettings
from thorax_launch.cli import batch
from thorax_launch.sagemaker.package import packed, source_files

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", BUCKET, "--role", "thorax-execution", "--yes"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


def does_the_job(aws: Any, bundle: Path, status: str = "Completed", most: int = 1000, name: str = "one") -> None:
    """SageMaker's part, on the second look: what the requests name is read from S3 and answered by the bundle.

    Args:
        most: images that are answered before the job ends.
        name: of the job.
    """
    looks: list[int] = []

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["TransformJobName"] not in [sent["TransformJobName"] for sent in aws.sent("CreateTransformJob")]:
            raise failed("ValidationException", "Could not find transform job")
        looks.append(1)
        ended = len(looks) % 2 == 0
        if ended and asked["TransformJobName"] == aws.sent("CreateTransformJob")[-1]["TransformJobName"]:
            known = list(aws.calls)
            transform(aws, bundle, most if asked["TransformJobName"] == name else 0)
            aws.calls[:] = known
        return {
            "TransformJobName": asked["TransformJobName"],
            "TransformJobStatus": status if ended else "InProgress",
            "FailureReason": "ClientError: 400\nsee the log",
        }

    aws.answers["DescribeTransformJob"] = describe


def transform(aws: Any, bundle: Path, most: int) -> None:
    """What a transform's container is given and answers; it fails at a status other than 200, as AWS's does."""
    job, model = aws.sent("CreateTransformJob")[-1], aws.sent("CreateModel")[-1]
    settings = ServerSettings.from_environment(
        model["PrimaryContainer"]["Environment"] | {"SAGEMAKER_BATCH": "true"}, workers=1
    )
    classifier, s3 = Classifier.load(bundle, threads=1), aws.client("s3")
    source = job["TransformInput"]["DataSource"]["S3DataSource"]
    assert source["S3DataType"] == "ManifestFile"
    head, *names = json.loads(fetched(s3, source["S3Uri"]))
    to = job["TransformOutput"]["S3OutputPath"].removeprefix(f"s3://{BUCKET}/")
    for name in names[:most]:
        body = fetched(s3, head["prefix"] + name)
        assert len(body) <= job["MaxPayloadInMB"] * 2**20
        reply = answer(
            classifier,
            RawRequest(body, job["TransformInput"]["ContentType"], job["TransformOutput"]["Accept"]),
            settings,
        )
        assert reply.status == 200
        s3.put_object(Bucket=BUCKET, Key=f"{to}{name}.out", Body=reply.body)


def fetched(s3: Any, address: str) -> bytes:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def put_one(aws: Any) -> None:
    """An image in S3."""
    aws.client("s3").put_object(Bucket=BUCKET, Key="test/a.png", Body=b"image")
    aws.calls.clear()


def rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))


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
    found = rows(str(out))
    assert [(row["id"], row["target:PNEUMONIA"]) for row in found] == [
        ("NORMAL/a.png", "0"),
        ("NORMAL/b.png", "0"),
        ("PNEUMONIA/c.png", "1"),
    ]
    expected = Classifier.load(whole, threads=1).predict([tmp_path / "test" / row["id"] for row in found])[:, 0]
    assert [float(row["probability:PNEUMONIA"]) for row in found] == pytest.approx(list(expected), abs=1e-5)
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
    put_one(aws)
    assert batch.main(words) == 0
    assert "the same command with --resume one --wait fetches the answers" in capsys.readouterr().out
    for operation, parameters in json.loads(shown.out).items():
        assert aws.sent(operation) == [parameters]
    keys = [put["Key"] for put in aws.sent("PutObject")]
    assert keys[-2:] == ["thorax/one/one.manifest.json", "thorax/one/batch.json"]


def test_only_images_are_sent_and_one_that_cannot_be_read_fails_nothing(
    aws: Any, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = shelf(tmp_path / "test")
    (data / "README.txt").write_text("a note")
    (data / "PNEUMONIA" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    does_the_job(aws, whole)
    words = [str(whole), "--data", str(data), "--out", "t.csv", "--wait", "--job-name", "one", *PLACE]
    assert batch.main(words) == 0
    shown = capsys.readouterr()
    assert "left out: 1 file that is no image: README.txt" in shown.err
    assert [row["id"] for row in rows("t.csv")] == ["NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png"]
    (bad,) = rows("t.unreadable.csv")
    assert bad["id"] == "PNEUMONIA/broken.png"
    assert "cannot be read" in bad["reason"]
    assert not [put["Key"] for put in aws.sent("PutObject") if "README" in put["Key"]]


def test_a_job_that_fails_gives_what_it_did_and_a_resume_sends_the_rest(
    aws: Any, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = shelf(tmp_path / "test")
    words = [str(whole), "--data", str(data), "--out", "t.csv", "--wait", *PLACE]
    does_the_job(aws, whole, "Failed", most=1)
    assert batch.main([*words, "--job-name", "one"]) == 3
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: batch transform one failed: ClientError: 400 see the log; ")
    assert "2 of 3 images have no answer; the same command with --resume one --wait" in message
    assert [row["id"] for row in rows("t.csv")] == ["NORMAL/a.png"]
    assert [row["id"] for row in rows("t.unreadable.csv")] == ["NORMAL/b.png", "PNEUMONIA/c.png"]
    does_the_job(aws, whole, name="two")
    assert batch.main([*words, "--resume", "one", "--job-name", "two"]) == 0
    assert "batch one: 1 image has an answer, 2 are sent" in capsys.readouterr().out
    assert len(rows("t.csv")) == 3
    assert not Path("t.unreadable.csv").exists()
    assert batch.main([*words, "--resume", "one"]) == 0  # all are answered: nothing is sent
    assert len(aws.sent("CreateTransformJob")) == 2
    assert batch.main([*words, "--resume", "other"]) == 1
    assert "--resume other: there is no such batch" in capsys.readouterr().err
    (data / "NORMAL" / "d.png").write_bytes((data / "NORMAL" / "a.png").read_bytes())
    assert batch.main([*words, "--resume", "one"]) == 1
    assert "--resume one: that batch is about the images s3://films/thorax/data/" in capsys.readouterr().err
    aws.own = list(aws.calls)
    assert aws.client("sagemaker").list_models()["Models"] == []


def test_an_image_that_is_too_large_is_refused_before_anything_is_sent(
    offline: Path, light: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = shelf(tmp_path / "test")
    (data / "NORMAL" / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9 * 2**20))
    plain = [str(light), "--data", str(data), "--out", "t.csv", "--bucket", BUCKET, "--role", ROLE, "--dry-run"]
    assert batch.main([*plain, "--region", "eu-central-1", "--concurrent", "16"]) == 1
    message = capsys.readouterr().err
    assert "1 image is larger than --payload-mb 6, the largest 10 MB: NORMAL/large.png" in message
    assert message.endswith("; give --payload-mb 10 --concurrent 10\n")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("ray", {"THORAX_MAX_REQUEST_BYTES": str(50 * 2**20), "THORAX_MAX_QUEUE": "64"}),
        (
            "torchserve",
            {
                "SAGEMAKER_PROGRAM": "inference.py",
                "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                "TS_MAX_REQUEST_SIZE": str(50 * 2**20),
                "TS_MAX_RESPONSE_SIZE": str(50 * 2**20),
            },
        ),
    ],
)
def test_the_limits_of_a_job_reach_the_container(
    image: str, expected: dict[str, str], offline: Path, light: Path, capsys: Capture
) -> None:
    words = [str(light), "--data", "s3://films/test", "--out", "t.csv", "--bucket", BUCKET, "--role", ROLE, "--dry-run"]
    more = ["--payload-mb", "50", "--concurrent", "2", "--image", image, "--env", "THORAX_PRECISION=float32"]
    assert batch.main([*words, "--region", "eu-central-1", *more]) == 0
    shown = capsys.readouterr()
    made = json.loads(shown.out)["CreateModel"]["PrimaryContainer"]["Environment"]
    assert made == expected | {"THORAX_PRECISION": "float32"}
    assert ("patches its TorchServe images no more" in shown.err) == (image == "torchserve")


def test_a_job_that_is_refused_leaves_no_model(aws: Any, light: Path, capsys: Capture) -> None:
    put_one(aws)
    aws.faults["CreateTransformJob"] = [(400, "ResourceLimitExceeded", "is 0")]
    assert batch.main([str(light), "--data", "s3://films/test", "--out", "t.csv", "--job-name", "one", *PLACE]) == 1
    assert "CreateTransformJob: ResourceLimitExceeded" in capsys.readouterr().err
    aws.own = list(aws.calls)
    assert aws.client("sagemaker").list_models()["Models"] == []


def test_a_refusal_takes_no_model_from_a_job_of_that_name(aws: Any, light: Path, capsys: Capture) -> None:
    put_one(aws)
    words = [str(light), "--data", "s3://films/test", "--out", "t.csv", "--job-name", "one", *PLACE]
    assert batch.main(words) == 0
    aws.faults["CreateTransformJob"] = [(400, "ResourceLimitExceeded", "is 0")]
    assert batch.main([*words, "--instance-count", "2"]) == 1
    assert "CreateTransformJob: ResourceLimitExceeded" in capsys.readouterr().err
    assert "DeleteModel" not in aws.operations


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


@pytest.mark.parametrize("asked_again", [True, False])
def test_a_job_without_an_answer_is_looked_for_and_keeps_its_model(
    asked_again: bool, aws: Any, light: Path, capsys: Capture
) -> None:
    """It runs, and would fail without its model."""
    from botocore.exceptions import ReadTimeoutError

    put_one(aws)
    sent: dict[str, Any] = {}

    def lost(asked: dict[str, Any]) -> dict[str, Any]:
        sent.update(asked)
        raise ReadTimeoutError(endpoint_url="x")

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        if not sent:
            raise failed("ValidationException", "Could not find transform job")
        if not asked_again:
            raise ReadTimeoutError(endpoint_url="x")
        return {**sent, "TransformJobStatus": "InProgress"}

    aws.answers |= {"CreateTransformJob": lost, "DescribeTransformJob": describe}
    words = [str(light), "--data", "s3://films/test", "--out", "t.csv", "--job-name", "one", *PLACE]
    assert batch.main(words) == (0 if asked_again else 1)
    shown = capsys.readouterr()
    if asked_again:
        assert "batch transform one is there (InProgress), from this very request: none is started twice" in shown.out
    else:
        assert "one may have started all the same: `thorax follow one` tells" in shown.err.replace("python launch/", "")
    assert "DeleteModel" not in aws.operations


def test_a_name_that_another_batch_has_changes_none_of_its_files(bench: Bench, capsys: Capture) -> None:
    again = Case("batch", "BUNDLE --data s3://films/thorax/images --out OUT/t.csv --job-name scores --yes PLACE")
    other = Case("batch", again.words.replace("thorax/images", "thorax/other"))
    bench.set_up(again)
    assert bench.run(again) == 0
    assert bench.run(again) == 0
    assert "from this very request: none is started twice" in capsys.readouterr().out
    before = len(bench.aws.sent("PutObject"))
    assert bench.run(other) == 1
    assert "--job-name scores is taken by a batch transform of other images" in capsys.readouterr().err
    assert len(bench.aws.sent("PutObject")) == before


@pytest.mark.parametrize(("status", "code"), [("Stopped", 4), ("Failed", 3)])
def test_every_end_has_its_line_and_its_exit_code(
    status: str, code: int, aws: Any, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    does_the_job(aws, whole, status, most=1)
    words = [str(whole), "--data", str(shelf(tmp_path / "test")), "--out", "t.csv", "--wait", "--job-name", "one"]
    assert batch.main([*words, *PLACE]) == code
    message = capsys.readouterr().err.splitlines()[-1]
    assert "with --resume one --wait fetches the answers and sends what has none" in message
    assert len(rows("t.csv")) == 1
    aws.own = list(aws.calls)
    assert aws.client("sagemaker").list_models()["Models"] == []


def test_a_model_that_cannot_be_deleted_costs_no_answers(
    aws: Any, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    does_the_job(aws, whole)
    aws.faults["DeleteModel"] = [(400, "AccessDeniedException", "no")]
    words = [str(whole), "--data", str(shelf(tmp_path / "test")), "--out", "t.csv", "--wait", "--job-name", "one"]
    assert batch.main([*words, *PLACE]) == 0
    assert "note: model one is left, which costs nothing: DeleteModel: AccessDenied" in capsys.readouterr().out
    assert len(rows("t.csv")) == 3
