"""thorax_launch.sagemaker from Python: jobs, searches and endpoints, and what a `with` block ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import lambda_stand_ins
from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax_launch import sagemaker
from thorax_launch.cli import train
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import AwsSettings
from thorax_launch.sagemaker.package import packed, source_files

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
SETTINGS = AwsSettings(region="eu-central-1", bucket="films", role=ROLE)
IMAGES = {"train": "s3://films/train", "test": "s3://films/test"}
BUNDLE = "s3://films/thorax/one/output/model.tar.gz"
RUNNING = {"TrainingJobName": "one", "TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}
DONE = {
    **RUNNING,
    "TrainingJobStatus": "Completed",
    "SecondaryStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": BUNDLE},
    "FinalMetricDataList": [{"MetricName": "validation:auc", "Value": 0.981, "Timestamp": 0}],
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


def start(**options: Any) -> sagemaker.TrainingJob:
    return sagemaker.train("demo", IMAGES, settings=SETTINGS, job_name="one", **options)


def describes(aws: Any, *states: dict[str, Any]) -> None:
    """What DescribeTrainingJob answers, one call after the other; the last one stays."""
    waiting = list(states)
    aws.answers["DescribeTrainingJob"] = lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]
    aws.answers["StopTrainingJob"] = lambda _: {}


# -- Training jobs -----------------------------------------------------------------------------------------------------


def test_a_job_from_start_to_bundle(aws: Any, light: Path, tmp_path: Path, capsys: Capture) -> None:
    with start(hyperparameters={"epochs": 3, "learning_rate": 0.0001}, volume_gb=80) as job:
        (request,) = aws.sent("CreateTrainingJob")
        assert job.request == request
        assert (request["HyperParameters"]["epochs"], request["HyperParameters"]["learning_rate"]) == (
            '"3"',
            '"0.0001"',
        )
        assert request["ResourceConfig"]["VolumeSizeInGB"] == 80
        describes(aws, {**RUNNING, "SecondaryStatus": "Starting"}, RUNNING, DONE)
        capsys.readouterr()
        assert job.wait(logs=False) == "Completed"
        assert capsys.readouterr().out == ""
    assert "StopTrainingJob" not in aws.operations
    assert job.bundle == BUNDLE
    assert job.metrics == {"validation:auc": 0.981}
    aws.own = list(aws.calls)
    key = BUNDLE.removeprefix("s3://films/")
    aws.client("s3").put_object(Bucket="films", Key=key, Body=packed(source_files(light), 1))
    assert job.download(tmp_path / "down") == tmp_path / "down"
    assert Bundle.load(tmp_path / "down").network == Bundle.load(light).network


def test_a_failed_job_raises_the_reason(aws: Any) -> None:
    job = start()
    describes(aws, {**RUNNING, "TrainingJobStatus": "Failed", "FailureReason": "out of\nmemory"})
    with pytest.raises(
        ThoraxError, match=r"^job one failed: out of memory; to go on from its checkpoints: thorax train --resume one$"
    ):
        job.wait(logs=False)
    with pytest.raises(ThoraxError, match=r"^job one left no bundle$"):
        _ = job.bundle


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_a_job_that_still_runs_is_stopped_at_the_end_of_its_block(error: BaseException, aws: Any) -> None:
    describes(aws, RUNNING)
    with pytest.raises(type(error)), start():
        raise error
    assert aws.sent("StopTrainingJob") == [{"TrainingJobName": "one"}]


def test_an_error_in_the_block_is_not_hidden_by_one_of_aws(aws: Any) -> None:
    describes(aws, RUNNING)

    def refuse(_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not allowed"}}, "StopTrainingJob")

    aws.answers["StopTrainingJob"] = refuse
    with pytest.raises(ValueError, match=r"^mine") as caught, start():
        raise ValueError("mine")
    (note,) = caught.value.__notes__
    assert note.startswith("TrainingJob one may go on and cost: StopTrainingJob: AccessDeniedException: not allowed;")


def test_a_job_by_its_name(aws: Any) -> None:
    sent = start().request
    job = sagemaker.TrainingJob("one")  # profile and region of the session
    assert job.settings.region == "eu-central-1"
    assert job.status() == "Completed"
    assert {name: job.request[name] for name in ("RoleArn", "HyperParameters")} == {
        name: sent[name] for name in ("RoleArn", "HyperParameters")
    }
    assert "TrainingJobStatus" not in job.request
    with pytest.raises(ThoraxError, match=r"^DescribeTrainingJob: "):
        sagemaker.TrainingJob("nowhere").status()


def test_a_dry_run_asks_nothing_and_is_the_commands(offline: Path, capsys: Capture) -> None:
    place = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE, "--job-name", "one", "--spot"]
    words = [word for name, address in IMAGES.items() for word in (f"--{name}", address)]
    assert train.main(["demo", *words, *place, "--set", "epochs=3", "--dry-run"]) == 0
    expected = json.loads(capsys.readouterr().out)
    options: Any = {"hyperparameters": {"epochs": 3}, "settings": SETTINGS, "job_name": "one", "spot": True}
    assert sagemaker.request("demo", IMAGES, **options) == expected
    with sagemaker.train(Recipe.load("demo"), IMAGES, **options, dry_run=True) as job:
        assert job.request == expected
    with pytest.raises(ThoraxError, match=r"^TrainingJob one was not sent \(dry_run=True\)"):
        job.wait()


def test_a_dry_run_without_settings_has_stand_ins(offline: Path) -> None:
    request = sagemaker.request("demo", IMAGES)
    assert request["RoleArn"] == "arn:aws:iam::000000000000:role/ROLE"
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://sagemaker-us-east-1-000000000000/thorax"


def test_settings_of_the_project_are_taken(aws: Any) -> None:
    Path("thorax.yaml").write_text("{bucket: of-file, prefix: chest, role: thorax-execution}\n")
    found = sagemaker.load_settings(prefix="mine")
    assert (found.bucket, found.prefix, found.role, found.region) == ("of-file", "mine", ROLE, "eu-central-1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instance_tipe": "ml.m5.large"}, "unknown option instance_tipe; did you mean instance_type?"),
        ({"volume_gb": "80"}, "--volume-gb 80 is not a whole number"),
        ({"max_hours": 0}, "--max-hours 0 must be above 0"),
        ({"spot": "yes"}, "--spot yes must be true or false"),
        ({"input_mode": "Pipe"}, "--input-mode Pipe must be File or FastFile"),
        ({"processes": 0}, "--processes 0 must be 1 or more"),
        ({"hyperparameters": {"epochz": 3}}, "unknown hyperparameter epochz; did you mean epochs?"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], message: str, offline: Path) -> None:
    with pytest.raises(ThoraxError) as caught:
        sagemaker.train("demo", IMAGES, settings=SETTINGS, **options)
    assert str(caught.value).startswith(message)


# -- Searches ----------------------------------------------------------------------------------------------------------


def search_is(aws: Any, *states: str) -> None:
    waiting = list(states)
    goal = {"Type": "Maximize", "MetricName": "validation:auc"}
    aws.answers["DescribeHyperParameterTuningJob"] = lambda asked: {
        **asked,
        "HyperParameterTuningJobStatus": waiting.pop(0) if len(waiting) > 1 else waiting[0],
        "HyperParameterTuningJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/one",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
            "HyperParameterTuningJobObjective": goal,
        },
        "CreationTime": datetime.now(UTC),
        "TrainingJobStatusCounters": {"Completed": 2},
        "ObjectiveStatusCounters": {},
        "FailureReason": "no jobs",
    }
    aws.answers["ListTags"] = lambda _: {"Tags": []}
    aws.answers["StopHyperParameterTuningJob"] = lambda _: {}


def found_jobs(aws: Any, values: dict[str, float | None]) -> None:
    aws.answers["ListTrainingJobsForHyperParameterTuningJob"] = lambda _: {
        "TrainingJobSummaries": [
            {
                "TrainingJobName": name,
                "TrainingJobStatus": "Completed" if value else "InProgress",
                "CreationTime": datetime.now(UTC),
                "TunedHyperParameters": {"learning_rate": "0.001"},
                **(
                    {"FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "a", "Value": value}}
                    if value
                    else {}
                ),
            }
            for name, value in values.items()
        ]
    }


def search(**options: Any) -> sagemaker.TuningJob:
    return sagemaker.tune("pneumonia-resnet18", IMAGES, settings=SETTINGS, job_name="one", **options)


def test_a_search_from_start_to_its_best_bundle(aws: Any, capsys: Capture) -> None:
    search_is(aws, "InProgress", "InProgress", "Completed")
    with search(max_jobs=7, strategy="random", warm_start=["before"]) as found:
        (request,) = aws.sent("CreateHyperParameterTuningJob")
        assert found.request == request
        assert request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 7
        assert request["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [
            {"HyperParameterTuningJobName": "before"}
        ]
        assert found.wait() == "Completed"
    assert "search one: Completed, 2 jobs done, 0 running" in capsys.readouterr().out
    assert "StopHyperParameterTuningJob" not in aws.operations
    found_jobs(aws, {"one-001": 0.91, "one-002": 0.97, "one-003": None})
    assert [trial.name for trial in found.leaderboard().ranked] == ["one-002", "one-001", "one-003"]
    describes(aws, DONE)
    assert (found.best.name, found.best.bundle) == ("one-002", BUNDLE)
    found_jobs(aws, {"one-001": None})
    with pytest.raises(ThoraxError, match=r"^no job of one has come to a value yet$"):
        _ = found.best


def test_a_search_that_still_runs_is_stopped_at_the_end_of_its_block(aws: Any) -> None:
    search_is(aws, "InProgress")
    with pytest.raises(KeyboardInterrupt), search():
        raise KeyboardInterrupt
    assert aws.sent("StopHyperParameterTuningJob") == [{"HyperParameterTuningJobName": "one"}]


def test_a_failed_search_raises_the_reason(aws: Any) -> None:
    search_is(aws, "Failed")
    with pytest.raises(
        ThoraxError, match=r"^search one failed: no jobs; what its jobs came to: thorax leaderboard one; "
    ):
        sagemaker.TuningJob("one").wait()


# -- Endpoints ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """An endpoint's answers, and the images that it was asked about."""
    asked: list[bytes] = []

    def respond(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert (method, path) == ("POST", "/endpoints/chest/invocations")
        asked.append(body)
        if body == b"no image":
            return lambda_stand_ins.aws_error(
                424, "ModelError", OriginalStatusCode=400, OriginalMessage='{"error": "no image"}', Message="it failed"
            )
        answer = {"labels": ["A", "B"], "probabilities": [0.25, 0.75], "predicted": "B"}
        content = answer if headers["Accept"] == "application/json;verbose" else answer["probabilities"]
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()

    with lambda_stand_ins.serving(respond) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", address)
        yield asked


def left(aws: Any) -> list[str]:
    """Endpoints, configurations and models on AWS; the test's own look, for which the launcher needs no right."""
    aws.own = list(aws.calls) if aws.own is None else aws.own
    client = aws.client("sagemaker")
    return [
        *(found["EndpointName"] for found in client.list_endpoints()["Endpoints"]),
        *(found["EndpointConfigName"] for found in client.list_endpoint_configs()["EndpointConfigs"]),
        *(found["ModelName"] for found in client.list_models()["Models"]),
    ]


def test_an_endpoint_answers_and_is_deleted(aws: Any, runtime: list[bytes], light: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG file")
    with sagemaker.deploy(light, "chest", settings=SETTINGS, instance_count=2) as endpoint:
        assert endpoint.status() == "InService"
        assert endpoint.request["CreateEndpointConfig"] == aws.sent("CreateEndpointConfig")[0]
        answers = endpoint.predict([tmp_path / "a.png", str(tmp_path / "a.png"), b"\x89PNG bytes"])
        assert [answer["predicted"] for answer in answers] == ["B"] * 3
        assert answers[0]["probabilities"] == [0.25, 0.75]
        assert sorted(runtime[1:]) == [b"\x89PNG bytes", b"\x89PNG file", b"\x89PNG file"]  # after the smoke test's
        with pytest.raises(ThoraxError, match=r"^image 1: no image$"):
            endpoint.predict([b"no image"])
        with pytest.raises(ThoraxError, match=r"^none\.png cannot be read: No such file"):
            endpoint.predict(["none.png"])
    assert left(aws) == []


def test_an_endpoint_is_deleted_after_an_error(aws: Any, runtime: list[bytes], light: Path) -> None:
    with pytest.raises(KeyboardInterrupt), sagemaker.deploy(light, "chest", settings=SETTINGS):
        raise KeyboardInterrupt
    assert left(aws) == []


def test_an_endpoint_that_was_deleted_in_its_block_is_no_error(aws: Any, runtime: list[bytes], light: Path) -> None:
    with sagemaker.deploy(light, "chest", settings=SETTINGS) as endpoint:
        sagemaker.Endpoint("chest").delete()
    assert len(aws.sent("DeleteEndpoint")) == 1
    with pytest.raises(ThoraxError, match=r"^DescribeEndpoint: "):
        endpoint.delete()


def test_a_dry_run_of_an_endpoint(offline: Path, light: Path) -> None:
    with sagemaker.deploy(light, "chest", settings=SETTINGS, dry_run=True, serverless=True, memory_mb=2048) as endpoint:
        variant = endpoint.request["CreateEndpointConfig"]["ProductionVariants"][0]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 4}
    with pytest.raises(ThoraxError, match=r"^Endpoint chest was not sent \(dry_run=True\)"):
        endpoint.predict(["a.png"])
    with pytest.raises(ThoraxError, match=r"^unknown option instance_cont; did you mean instance_count"):
        sagemaker.deploy(light, "chest", settings=SETTINGS, dry_run=True, instance_cont=2)


# -- Importing ---------------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    heavy = {"torch", "numpy", "boto3", "botocore", "sagemaker", "yaml"}
    code = f"import sys\nfrom thorax_launch import sagemaker\nprint({heavy!r} & set(sys.modules), dir(sagemaker))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    names = [
        "AwsSettings",
        "Endpoint",
        "FoldJobs",
        "TrainingJob",
        "TuningJob",
        "attach",
        "attach_folds",
        "cross_validate",
        "deploy",
        "load_settings",
        "request",
        "train",
        "tune",
    ]
    assert done.stdout.strip() == f"set() {names}"
