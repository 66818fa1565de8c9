"""A life in one session: upload, train, tune, deploy the best, ask it, score a folder, delete. Moto is AWS; a real
server is the endpoint.

What SageMaker would do is stood in for here: the training job's bundle is put where the request says, the endpoint is
the app over what
CreateModel names, and the batch transform asks that.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

import images
import lambda_stand_ins
from hosting import server, tiny_bundle
from sagemaker_stand_in import failed
from thorax.serving.classifier import Classifier
from thorax_launch.cli import batch, delete, predict, train, tune
from thorax_launch.sagemaker.package import packed, source_files

BUCKET = "films"
PLACE = ["--bucket", BUCKET, "--role", "thorax-execution", "--yes"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("status", "smoke_tests"):
        monkeypatch.setattr(f"thorax_launch.sagemaker.{module}.POLL", 0.0)


def job_ends(aws: Any, name: str, bundle: Path) -> str:
    """SageMaker's part in training: model.tar.gz below the request's output path."""
    address = f"{aws.sent('CreateTrainingJob')[0]['OutputDataConfig']['S3OutputPath']}/{name}/output/model.tar.gz"
    quietly(
        aws,
        lambda: aws.client("s3").put_object(
            Bucket=BUCKET, Key=address.removeprefix(f"s3://{BUCKET}/"), Body=packed(source_files(bundle), 1)
        ),
    )
    aws.answers["DescribeTrainingJob"] = lambda asked: {
        "TrainingJobName": asked["TrainingJobName"],
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "ModelArtifacts": {"S3ModelArtifacts": address},
    }
    return address


def search_ends(aws: Any, best: str) -> None:
    config = {
        "Strategy": "Bayesian",
        "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:auc"},
    }
    aws.answers["DescribeHyperParameterTuningJob"] = lambda asked: {
        **asked,
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningJobConfig": config,
        "CreationTime": datetime.now(UTC),
        "HyperParameterTuningJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/sweep",
        "TrainingJobStatusCounters": {"Completed": 1},
        "ObjectiveStatusCounters": {"Succeeded": 1},
    }
    aws.answers["ListTags"] = lambda _: {"Tags": []}
    aws.answers["ListTrainingJobsForHyperParameterTuningJob"] = lambda _: {
        "TrainingJobSummaries": [
            {
                "TrainingJobName": best,
                "TrainingJobStatus": "Completed",
                "CreationTime": datetime.now(UTC),
                "TunedHyperParameters": {"learning_rate": "0.001"},
                "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:auc", "Value": 0.9},
            }
        ]
    }


def transform_ends(aws: Any, address: str) -> None:
    """SageMaker's part in a batch transform: every image below the prefix to the container, its answer beside it."""

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        if not (sent := aws.sent("CreateTransformJob")):
            raise failed("ValidationException", "Could not find transform job")
        job = sent[0]
        listed = job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
        to = job["TransformOutput"]["S3OutputPath"].removeprefix(f"s3://{BUCKET}/")
        headers = {"Content-Type": job["TransformInput"]["ContentType"], "Accept": job["TransformOutput"]["Accept"]}

        def answer() -> None:
            s3 = aws.client("s3")
            head, *names = json.loads(s3.get_object(Bucket=BUCKET, Key=listed)["Body"].read())
            for name in names:
                key = f"{head['prefix']}{name}".removeprefix(f"s3://{BUCKET}/")
                reply = asked_of(address, s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), headers)
                s3.put_object(Bucket=BUCKET, Key=f"{to}{name}.out", Body=reply)

        quietly(aws, answer)
        return {**asked, "TransformJobStatus": "Completed"}

    aws.answers["DescribeTransformJob"] = describe


def asked_of(address: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Through urllib's own socket: moto holds `requests` back."""
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{address}/invocations", body, headers), timeout=30) as reply:
        return bytes(reply.read())


def quietly(aws: Any, work: Any) -> None:
    """Calls that are SageMaker's own, for which the launcher needs no right."""
    known = list(aws.calls)
    work()
    aws.calls[:] = known


def fetched(aws: Any, uri: str, folder: Path) -> Path:
    """What SageMaker puts into /opt/ml/model."""

    def fetch() -> None:
        body = aws.client("s3").get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            tar.extractall(folder, filter="data")

    quietly(aws, fetch)
    return folder


@pytest.mark.parametrize("kind", ["app", pytest.param("ray", marks=pytest.mark.slow)])
def test_from_images_to_a_deleted_endpoint(
    kind: str, aws: Any, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "ray":
        pytest.importorskip("ray")
    bundle = tiny_bundle(tmp_path / "trained", images.BINARY)
    shelf = images.folders(tmp_path / "test", NORMAL=["a.png", "b.png"], PNEUMONIA=["c.png"])
    data = ["pneumonia-resnet18", "--train", str(few / "train"), "--test", str(few / "test"), *PLACE]

    assert train.main([*data, "--job-name", "one"]) == 0
    job_ends(aws, "one", bundle)

    # The endpoint: what its model names, in a real server's process, behind a stand-in for AWS's runtime.
    monkeypatch.setattr("hosting.requests.post", lambda url, body, headers, timeout: _Status(url, body, headers))
    model = fetched(aws, job_ends(aws, "sweep-001", bundle), tmp_path / "served")
    with (
        server(model, kind, ready=150, THORAX_REPLICAS="1") as (address, _),
        lambda_stand_ins.endpoint("chest", address) as runtime,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", runtime)
        search_ends(aws, "sweep-001")
        best = ["--deploy-best", "--endpoint-name", "chest", *PLACE]
        assert tune.main([*data, "--job-name", "sweep", *best]) == 0
        shown = capsys.readouterr().out
        assert "smoke test: [0." in shown
        assert (
            aws.sent("CreateModel")[0]["PrimaryContainer"]["ModelDataUrl"]
            == f"s3://{BUCKET}/thorax/sweep-001/output/model.tar.gz"
        )

        assert predict.main(["chest", str(shelf), "--json"]) == 0
        message = {
            one["image"]: one["probabilities"][0] for one in map(json.loads, capsys.readouterr().out.splitlines())
        }
        ids = ["NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png"]
        expected = Classifier.load(bundle, threads=1).predict([shelf / name for name in ids])[:, 0]
        assert [message[name] for name in ids] == pytest.approx(list(expected), abs=1e-5)

        transform_ends(aws, address)
        given = aws.sent("CreateModel")[0]["PrimaryContainer"]["ModelDataUrl"]
        assert batch.main([given, "--data", str(shelf), "--out", "table.csv", "--wait", *PLACE]) == 0
        assert [
            float(row["probability:PNEUMONIA"]) for row in csv.DictReader(Path("table.csv").read_text().splitlines())
        ] == pytest.approx(list(expected), abs=1e-5)

    del aws.answers["ListTags"]
    assert delete.main(["chest", "--yes"]) == 0
    aws.own = list(aws.calls)
    sagemaker = aws.client("sagemaker")
    assert (
        sagemaker.list_endpoints()["Endpoints"]
        == sagemaker.list_models()["Models"]
        == sagemaker.list_endpoint_configs()["EndpointConfigs"]
        == []
    )


class _Status:
    """What hosting.wait_for looks at."""

    def __init__(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        import urllib.error

        try:
            asked_of(url.removesuffix("/invocations"), body, headers)
            self.status_code = 200
        except urllib.error.HTTPError as error:
            self.status_code = error.code
        except OSError as error:
            raise requests.ConnectionError from error
