"""The jobs of a search best first, and its best deployed, against moto."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aws_jobs import DONE, PLACE, ROLE, job, states
from thorax_launch.cli import leaderboard, train, tune

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


# -- The leaderboard ---------------------------------------------------------------------------------------------------


def tuned(number: int, value: float | None, **parameters: str) -> dict[str, Any]:
    began = datetime(2026, 11, 21, 10, number, tzinfo=UTC)
    metric = (
        {"FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:auc", "Value": value}}
        if value is not None
        else {}
    )
    ended = {"TrainingEndTime": began + timedelta(minutes=5)} if value is not None else {}
    return {
        "TrainingJobName": f"one-{number:03d}",
        "TrainingJobStatus": "Completed" if value is not None else "InProgress",
        "CreationTime": began,
        "TrainingStartTime": began,
        "TunedHyperParameters": parameters,
        **metric,
        **ended,
    }


def test_the_jobs_of_a_search_best_first(aws: Any, few: Path, capsys: Capture) -> None:
    assert tune.main(job(few)) == 0
    pages = [
        {
            "TrainingJobSummaries": [
                tuned(2, 0.91, learning_rate="0.01", batch_size='"64"'),
                tuned(3, None, learning_rate="0.05", batch_size='"32"'),
            ],
            "NextToken": "x",
        },
        {"TrainingJobSummaries": [tuned(1, 0.97, learning_rate="0.001", batch_size='"32"')]},
    ]
    aws.answers["ListTrainingJobsForHyperParameterTuningJob"] = lambda _: pages.pop(0)
    capsys.readouterr()
    assert leaderboard.main(["one", "--csv", "board.csv", "--plot", "board.png"]) == 0
    out = capsys.readouterr().out
    assert "one: 3 jobs, 2 done" in out
    assert "to train it again: thorax train --again one-001" in out
    assert Path("board.csv").read_text().splitlines() == [
        "rank,job,status,validation:auc,learning_rate,batch_size,began,minutes",
        "1,one-001,Completed,0.970000,0.001,32,2026-11-21 10:01:00,5.0",
        "2,one-002,Completed,0.910000,0.01,64,2026-11-21 10:02:00,5.0",
        "3,one-003,InProgress,,0.05,32,2026-11-21 10:03:00,",
    ]
    assert Path("board.png").read_bytes()[:4] == b"\x89PNG"


def test_a_search_that_is_not_there(aws: Any, capsys: Capture) -> None:
    assert leaderboard.main(["nowhere"]) == 1
    assert capsys.readouterr().err.startswith("error: DescribeHyperParameterTuningJob: ")


# -- The best is deployed ----------------------------------------------------------------------------------------------


def best_of(aws: Any) -> None:
    """A search that has ended: two jobs, the first better."""
    ended = [*[{"HyperParameterTuningJobStatus": "InProgress"}] * 2, {"HyperParameterTuningJobStatus": "Completed"}]
    goal = {
        "Strategy": "Bayesian",
        "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:auc"},
    }
    aws.answers["ListTags"] = lambda _: {"Tags": []}
    aws.answers["DescribeHyperParameterTuningJob"] = lambda _: {
        **(ended.pop(0) if len(ended) > 1 else ended[0]),
        "HyperParameterTuningJobName": "one",
        "HyperParameterTuningJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/one",
        "HyperParameterTuningJobConfig": goal,
        "CreationTime": datetime.now(UTC),
        "TrainingJobStatusCounters": {"Completed": 2, "InProgress": 0},
        "ObjectiveStatusCounters": {"Succeeded": 2},
    }
    aws.answers["ListTrainingJobsForHyperParameterTuningJob"] = lambda _: {
        "TrainingJobSummaries": [tuned(1, 0.97, learning_rate="0.001"), tuned(2, 0.91, learning_rate="0.1")]
    }
    states(aws, DONE)


def test_the_best_of_a_search_is_deployed(
    aws: Any, stored: None, few: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.smoke_test", lambda *_: None)
    best_of(aws)
    where = ["--deploy-best", "--endpoint-name", "chest", *PLACE]
    assert tune.main(job(few, *where)) == 0
    assert aws.sent("CreateModel")[0]["PrimaryContainer"]["ModelDataUrl"] == DONE["ModelArtifacts"]["S3ModelArtifacts"]
    assert {"TrainingJobName": "one-001"} in aws.sent("DescribeTrainingJob")
    assert aws.sent("CreateEndpoint")[0]["EndpointName"] == "chest"
    out = capsys.readouterr().out
    assert "search one: InProgress" in out
    assert "search one: Completed" in out


def test_a_search_without_a_value_has_no_best(aws: Any, few: Path, capsys: Capture) -> None:
    best_of(aws)
    aws.answers["ListTrainingJobsForHyperParameterTuningJob"] = lambda _: {
        "TrainingJobSummaries": [tuned(1, None, learning_rate="0.001")]
    }
    assert leaderboard.main(["one", "--deploy-best", *PLACE]) == 1
    assert capsys.readouterr().err == "error: --deploy-best: no job of one has come to a value yet\n"


def test_the_best_is_deployed_with_the_settings_of_its_own_record(
    aws: Any, stored: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.smoke_test", lambda *_: None)
    best_of(aws)
    network = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    output = {"S3OutputPath": "s3://films/thorax", "KmsKeyId": "alias/films"}
    record = {"RoleArn": ROLE, "VpcConfig": network, "OutputDataConfig": output, "EnableNetworkIsolation": True}
    states(aws, {**DONE, **record})
    words = ["one", "--deploy-best", "--endpoint-name", "chest", "--yes"]
    assert leaderboard.main(words) == 0
    (model,) = aws.sent("CreateModel")
    assert (model["ExecutionRoleArn"], model["VpcConfig"], model["EnableNetworkIsolation"]) == (ROLE, network, True)
    assert aws.sent("CreateEndpointConfig")[0]["KmsKeyId"] == "alias/films"
    assert "from the record of job one-001: " in capsys.readouterr().out
    assert leaderboard.main([*words, "--subnets", "subnet-2", "--endpoint-name", "other"]) == 0
    assert "note: --subnets subnet-2 replaces the job's own, subnet-1" in capsys.readouterr().out
    assert aws.sent("CreateModel")[1]["VpcConfig"] == {**network, "Subnets": ["subnet-2"]}


# -- The winner's own record, whole ------------------------------------------------------------------------------------


RECORD = {
    "TrainingJobName": "one-001",
    "TrainingJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/one-001",
    "TuningJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/one",
    "RoleArn": ROLE,
    "HyperParameters": {
        "network": '"resnet18"',
        "epochs": '"7"',  # static: --set epochs=7
        "learning_rate": "0.001",
        "sagemaker_program": '"train_model.py"',
        "sagemaker_submit_directory": '"s3://films/thorax/one/source/0123/sourcedir.tar.gz"',
        "_tuning_objective_metric": "validation:auc",
    },
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "FastFile"},
    "InputDataConfig": [
        {
            "ChannelName": name,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://films/{name}/"}},
            "ContentType": "application/x-image",
        }
        for name in ("train", "validation", "weights")
    ],
    "ResourceConfig": {
        "InstanceType": "ml.g5.2xlarge",
        "InstanceCount": 2,
        "VolumeSizeInGB": 80,
        "KeepAlivePeriodInSeconds": 0,
    },
    "StoppingCondition": {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400},
    "EnableManagedSpotTraining": True,
    "OutputDataConfig": {"S3OutputPath": "s3://films/thorax", "KmsKeyId": "alias/films"},
    "CheckpointConfig": {"S3Uri": "s3://films/thorax/one/checkpoints/"},
    "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    "EnableNetworkIsolation": True,
    "EnableInterContainerTrafficEncryption": True,
    "Environment": {"NCCL_DEBUG": "INFO", "THORAX_CHECKPOINTS": "per-job"},
}


def test_the_winner_is_trained_again_by_its_whole_record(aws: Any, capsys: Capture) -> None:
    best_of(aws)
    states(aws, {**DONE, **RECORD})
    aws.answers["ListTags"] = lambda _: {"Tags": [{"Key": "team", "Value": "chest"}]}
    assert leaderboard.main(["one"]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("to train it again: "))
    words = told.removeprefix("to train it again: thorax train ").split()
    assert words == ["--again", "one-001"]
    assert train.main([*words, "--job-name", "new", "--yes"]) == 0, capsys.readouterr().err
    (sent,) = aws.sent("CreateTrainingJob")
    gone = {"TrainingJobArn", "TuningJobArn"}
    other = {"TrainingJobName", "HyperParameters", "CheckpointConfig", "Environment", "ResourceConfig"}
    for key in RECORD.keys() - gone - other:
        assert sent[key] == RECORD[key], key
    assert sent["TrainingJobName"] == "new"
    own = {key: value for key, value in RECORD["HyperParameters"].items() if key != "_tuning_objective_metric"}
    assert sent["HyperParameters"] == own
    assert sent["CheckpointConfig"] == {"S3Uri": "s3://films/thorax/new/checkpoints/"}
    assert sent["Environment"] == {"NCCL_DEBUG": "INFO"}
    assert {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 2, "VolumeSizeInGB": 80}.items() <= sent[
        "ResourceConfig"
    ].items()
    assert {"Key": "team", "Value": "chest"} in sent["Tags"]
    assert not gone & sent.keys()


def test_the_settings_file_of_the_search_is_that_of_the_endpoint(
    aws: Any, stored: None, few: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags and prices are in no record; what is in the record wins over the file."""
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.smoke_test", lambda *_: None)
    Path("chest.yaml").write_text(
        f"bucket: films\nrole: {ROLE}\nregion: eu-central-1\ntags: {{team: chest}}\nkms_key: alias/films\n"
        "subnets: [subnet-1]\nsecurity_groups: [sg-1]\n"
    )
    best_of(aws)
    isolated = {"EnableNetworkIsolation": True}
    states(aws, {**DONE, **{key: RECORD[key] for key in ("RoleArn", "VpcConfig", "OutputDataConfig")}, **isolated})
    images = ["--train", "s3://films/train", "--test", "s3://films/test"]
    words = ["pneumonia-resnet18", *images, "--job-name", "one", "--settings", "chest.yaml", "--yes"]
    assert tune.main([*words, "--deploy-best", "--endpoint-name", "chest", "--yes"]) == 0, capsys.readouterr().err
    (model,), (config,) = aws.sent("CreateModel"), aws.sent("CreateEndpointConfig")
    assert model["VpcConfig"] == RECORD["VpcConfig"]
    assert model["EnableNetworkIsolation"] is True
    assert config["KmsKeyId"] == "alias/films"
    for sent in (model, config, aws.sent("CreateEndpoint")[0]):
        assert {"Key": "team", "Value": "chest"} in sent["Tags"]
