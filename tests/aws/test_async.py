"""predict.py and batch.py against an asynchronous endpoint: the image to S3, the question, the answer from S3.

AWS's runtime is a server here: it refuses InvokeEndpoint, as AWS does for an asynchronous endpoint, and answers
InvokeEndpointAsync by writing to moto's S3.
"""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import images
import lambda_stand_ins
from thorax.serving.classifier import Classifier
from thorax.serving.pipeline import answer
from thorax.serving.request import RawRequest
from thorax_launch.cli import batch, predict

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def refused_late() -> list[threading.Barrier]:
    """With a barrier in it, as many questions as that takes are waited for; one is refused then, the others once that
    one has been asked by way of S3.
    """
    return []


@pytest.fixture
def endpoint(aws: Any, whole: Path, refused_late: list[threading.Barrier], monkeypatch: pytest.MonkeyPatch) -> Any:
    """An asynchronous endpoint `chest`; what it was asked, with the images' places."""
    monkeypatch.setattr("thorax_launch.async_endpoint.FIRST_LOOK", 0.0)
    classifier, asked = Classifier.load(whole, threads=1), []
    by_way_of_s3 = threading.Event()
    s3 = aws.client("s3")  # one for all threads of the server, whose calls are not the scripts'
    s3.meta.events.unregister("provide-client-params", aws.write_down)
    aws.tags["arn:aws:sagemaker:eu-central-1:123456789012:endpoint/chest"] = {"thorax:made-by": "thorax"}
    config = {"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/thorax/chest/async/", "KmsKeyId": "alias/films"}}
    aws.answers["DescribeEndpoint"] = lambda _: {
        "EndpointName": "chest",
        "EndpointConfigName": "chest-1",
        "EndpointStatus": "InService",
        "AsyncInferenceConfig": config,
    }

    def respond(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not path.endswith("/async-invocations"):
            for barrier in refused_late:
                if barrier.wait(60):
                    by_way_of_s3.wait(60)
            return lambda_stand_ins.aws_error(400, "ValidationError", Message="Endpoint chest is asynchronous")
        place = headers["X-Amzn-SageMaker-InputLocation"]
        key = place.removeprefix(f"s3://{BUCKET}/")
        asked.append(key)
        by_way_of_s3.set()
        image = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        accept = headers.get("X-Amzn-SageMaker-Accept", headers.get("Accept"))
        reply = answer(classifier, RawRequest(image, headers["X-Amzn-SageMaker-Content-Type"], accept))
        number, folder = key.rpartition("/")[2], "async" if reply.status == 200 else "async-failed"
        s3.put_object(Bucket=BUCKET, Key=f"thorax/chest/{folder}/{number}.out", Body=reply.body)
        where = {
            "X-Amzn-SageMaker-OutputLocation": f"s3://{BUCKET}/thorax/chest/async/{number}.out",
            "X-Amzn-SageMaker-FailureLocation": f"s3://{BUCKET}/thorax/chest/async-failed/{number}.out",
        }
        return 202, {"Content-Type": "application/json", **where}, b"{}"

    with lambda_stand_ins.serving(respond) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", address)
        yield asked


def left(aws: Any) -> list[str]:
    aws.own = list(aws.calls)
    found = aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="thorax/chest/async-input/")
    return [one["Key"] for one in found.get("Contents", [])]


def test_an_image_is_answered_by_way_of_s3(
    aws: Any, endpoint: list[str], whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    shelf = images.folders(tmp_path / "x", NORMAL=["a.png"], PNEUMONIA=["c.png"])
    (shelf / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert predict.main(["chest", str(shelf), "--json"]) == 1
    shown = capsys.readouterr()
    found = {
        one["image"]: one["probabilities"][0]
        for one in map(json.loads, shown.out.splitlines())
        if "probabilities" in one
    }
    expected = Classifier.load(whole, threads=1).predict([shelf / "NORMAL/a.png", shelf / "PNEUMONIA/c.png"])[:, 0]
    assert [found["NORMAL/a.png"], found["PNEUMONIA/c.png"]] == pytest.approx(list(expected), abs=1e-5)
    assert "broken.png" in shown.err
    assert "cannot be read" in shown.err
    assert len(endpoint) == 3
    assert all(put["SSEKMSKeyId"] == "alias/films" for put in aws.sent("PutObject"))
    assert left(aws) == []  # the images are taken away


def test_images_that_are_refused_late_are_asked_by_way_of_s3_too(
    aws: Any, endpoint: list[str], refused_late: list[threading.Barrier], tmp_path: Path, capsys: Capture
) -> None:
    shelf = images.folders(tmp_path / "x", NORMAL=["a.png", "b.png"], PNEUMONIA=["c.png"])
    refused_late.append(threading.Barrier(3))
    assert predict.main(["chest", str(shelf), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(endpoint) == 3


def test_a_folder_becomes_the_table_and_a_second_call_asks_what_is_missing(
    aws: Any, endpoint: list[str], whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    shelf = images.folders(tmp_path / "x", NORMAL=["a.png", "b.png"], PNEUMONIA=["c.png"])
    good = (shelf / "NORMAL/b.png").read_bytes()
    (shelf / "NORMAL/b.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    words = [str(whole), "--endpoint", "chest", "--data", str(shelf), "--out", "t.csv", "--bucket", BUCKET]
    words += ["--role", ROLE, "--region", "eu-central-1"]
    assert batch.main(words) == 0
    assert "1 image could not be read and is left out, e.g. NORMAL/b.png" in capsys.readouterr().out
    (shelf / "NORMAL/b.png").write_bytes(good)
    assert batch.main(words) == 0
    assert "3 images, 2 answered before" in capsys.readouterr().out
    assert len(endpoint) == 4
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert [(row["id"], row["target:PNEUMONIA"]) for row in rows] == [
        ("NORMAL/a.png", "0"),
        ("NORMAL/b.png", "0"),
        ("PNEUMONIA/c.png", "1"),
    ]
    assert not Path("t.csv.answers").exists()
    assert left(aws) == []


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        (["--instance-type", "ml.g5.xlarge"], "--instance-type"),
        (["--payload-mb", "50"], "--payload-mb"),
        (["--env", "A=b"], "--env"),
        (["--image", "ray"], "--image"),
    ],
)
def test_flags_of_a_batch_transform_are_not_passed_over(
    more: list[str], flag: str, offline: Path, whole: Path, capsys: Capture
) -> None:
    words = [str(whole), "--endpoint", "chest", "--data", "x", "--out", "t.csv", "--bucket", BUCKET, "--role", ROLE]
    assert batch.main([*words, "--region", "eu-central-1", "--dry-run", *more]) == 1
    assert f"{flag} with --endpoint: that is for a batch transform" in capsys.readouterr().err
    alone = [str(whole), "--target", "adults", "--data", "x", "--out", "t.csv", "--bucket", BUCKET, "--role", ROLE]
    assert batch.main([*alone, "--region", "eu-central-1", "--dry-run"]) == 1
    assert "--target adults is for --endpoint NAME; leave it out" in capsys.readouterr().err
