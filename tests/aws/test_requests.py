"""--dry-run: the request of every recipe, the same as ever, valid for AWS's own model, without asking AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest

from conftest import ROOT
from golden import check
from thorax.tracking.metric_log import metric_definitions
from thorax_launch import recipe
from thorax_launch.cli import train, tune

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE]
IMAGES = ["--train", "s3://films/kermany/train", "--test", "s3://films/kermany/test"]
EVERYTHING = [
    "--spot",
    "--max-hours",
    "1.5",
    "--max-wait-hours",
    "4",
    "--instance-type",
    "ml.p3.8xlarge",
    "--instance-count",
    "2",
    "--volume-gb",
    "80",
    "--subnets",
    "subnet-1,subnet-2",
    "--security-groups",
    "sg-1",
    "--kms-key",
    "alias/films",
    "--volume-kms-key",
    "1234abcd",
    "--network-isolation",
    "--encrypt-traffic",
    "--training-image",
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com/thorax:1",
    "--tag",
    "team=chest",
    "--tag",
    "commit=mine",
    "--env",
    "NCCL_DEBUG=INFO",
    "--input-mode",
    "FastFile",
    "--weights",
    "s3://films/w/r50.pt",
    "--model",
    "s3://films/thorax/old/output/model.tar.gz",
    "--channel",
    "train_lst=s3://films/lst/train",
    "--content-type",
    "train=application/x-recordio",
    "--set",
    "epochs=5",
    "--set",
    "use_pretrained_model=true",
]


@pytest.fixture(autouse=True)
def same_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.training_jobs.commit", lambda: "0" * 40)


def dry(script: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The request that a command prints; botocore takes it."""
    assert script.main([*words, "--dry-run", "--job-name", "golden"]) == 0, capsys.readouterr().err
    request: dict[str, Any] = json.loads(capsys.readouterr().out)
    operation = "CreateTrainingJob" if script is train else "CreateHyperParameterTuningJob"
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    return request


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_as_a_training_job(name: str, offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained = recipe.Recipe.load(name).hyperparameters.get("use_pretrained_model") == "true"
    weights = ["--weights", "s3://films/w/weights.safetensors"] if pretrained else []
    check(f"{name}.train", dry(train, [name, *IMAGES, *weights, *PLACE], capsys))


@pytest.mark.parametrize("name", [name for name in recipe.names() if recipe.Recipe.load(name).tune])
def test_every_search(name: str, offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(f"{name}.tune", dry(tune, [name, *IMAGES, *PLACE], capsys))


def test_everything_at_once(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check("everything.train", dry(train, ["chestxray14-224", *IMAGES, *PLACE, *EVERYTHING], capsys))


def test_a_search_drops_none_of_it(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [
        "--strategy",
        "hyperband",
        "--warm-start",
        "first",
        "--warm-start",
        "second",
        "--transfer",
        "--max-jobs",
        "7",
        "--parallel-jobs",
        "3",
    ]
    one = dry(train, ["pneumonia-resnet18", *IMAGES, *PLACE, *EVERYTHING], capsys)
    search = dry(tune, ["pneumonia-resnet18", *IMAGES, *PLACE, *EVERYTHING, *more], capsys)
    check("everything.tune", search)
    job = search["TrainingJobDefinition"]
    same = [
        "RoleArn",
        "InputDataConfig",
        "ResourceConfig",
        "StoppingCondition",
        "OutputDataConfig",
        "CheckpointConfig",
        "VpcConfig",
        "EnableManagedSpotTraining",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
    ]
    assert {key: job[key] for key in same} == {key: one[key] for key in same}
    assert search["Tags"] == one["Tags"]
    searched = {"learning_rate", "batch_size"}
    assert job["StaticHyperParameters"] == {
        key: text for key, text in one["HyperParameters"].items() if key not in searched
    }
    assert job["Environment"] == one["Environment"] | {"THORAX_CHECKPOINTS": "per-job"}


def test_debugger_and_profiler(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = dry(train, ["pneumonia-resnet18", *IMAGES, *PLACE, "--debugger", "--profiler"], capsys)
    check("debugger.train", request)
    rules = request["DebugRuleConfigurations"] + request["ProfilerRuleConfigurations"]
    assert all(rule["RuleEvaluatorImage"].endswith("/sagemaker-debugger-rules:latest") for rule in rules)
    assert "losses" in {one["CollectionName"] for one in request["DebugHookConfig"]["CollectionConfigurations"]}
    assert (request["HyperParameters"]["debugging"], request["HyperParameters"]["profiler"]) == ('"true"', '"true"')


def test_the_metrics_are_the_trainers(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = dry(train, ["demo", *IMAGES, *PLACE], capsys)
    assert request["AlgorithmSpecification"]["MetricDefinitions"] == metric_definitions()


@pytest.mark.parametrize(
    ("words", "torchrun"),
    [
        ([], None),
        (["--instance-count", "2"], "true"),
        (["--instance-type", "ml.g5.12xlarge"], "true"),
        (["--instance-type", "ml.g6.12xlarge"], "true"),
        (["--instance-type", "ml.g6.8xlarge"], None),
        (["--instance-type", "ml.p5.4xlarge"], None),
        (["--instance-type", "ml.g5.xlarge"], None),
        (["--processes", "2"], "true"),
        (["--instance-type", "ml.g5.12xlarge", "--processes", "1"], None),
    ],
)
def test_torchrun_where_there_are_several_processes(
    words: list[str], torchrun: str | None, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = dry(train, ["demo", *IMAGES, *PLACE, *words], capsys)
    assert request["HyperParameters"].get("sagemaker_torch_distributed_enabled") == torchrun


#: AWS takes no key for their disks, which are local.
LOCAL = [
    "ml.g4dn.xlarge",
    "ml.g5.xlarge",
    "ml.g6.xlarge",
    "ml.g6e.xlarge",
    "ml.g7.2xlarge",
    "ml.p3dn.24xlarge",
    "ml.p4d.24xlarge",
    "ml.p5.48xlarge",
    "ml.p6-b300.48xlarge",
    "ml.r5d.large",
]


@pytest.mark.parametrize("script", [train, tune])
@pytest.mark.parametrize("kind", [*LOCAL, "ml.m5.xlarge", "ml.c5.xlarge", "ml.p3.2xlarge", "ml.m7i.xlarge"])
def test_the_disk_has_the_key_where_aws_takes_one(
    kind: str, script: Any, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = dry(
        script, ["pneumonia-resnet18", *IMAGES, *PLACE, "--kms-key", "alias/films", "--instance-type", kind], capsys
    )
    job = request.get("TrainingJobDefinition", request)
    assert job["OutputDataConfig"]["KmsKeyId"] == "alias/films"
    assert job["ResourceConfig"].get("VolumeKmsKeyId") == (None if kind in LOCAL else "alias/films")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("s3://b/films/train", "s3://b/films/train/"),
        ("s3://b/films/train/", "s3://b/films/train/"),
        ("s3://b/films.v2/train", "s3://b/films.v2/train/"),
        ("s3://b", "s3://b"),
        ("s3://my.bucket/films", "s3://my.bucket/films/"),
        ("s3://b/weights.pt", "s3://b/weights.pt"),
        ("s3://b/job/output/model.tar.gz", "s3://b/job/output/model.tar.gz"),
    ],
)
def test_a_channel_is_what_is_below_its_address(
    given: str, sent: str, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S3 matches films/train also with films/train-old/a.png."""
    for script in (train, tune):
        request = dry(script, ["pneumonia-resnet18", "--train", given, *PLACE], capsys)
        (channel,) = request.get("TrainingJobDefinition", request)["InputDataConfig"]
        assert channel["DataSource"]["S3DataSource"]["S3Uri"] == sent


@pytest.mark.parametrize(
    ("flag", "kind", "mark"), [("cpu", "ml.m5.xlarge", "2.10.0-cpu-"), ("gpu", "ml.g5.xlarge", "2.10.0-gpu-")]
)
def test_the_image_fits_the_machine(
    flag: str, kind: str, mark: str, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        mark
        in dry(train, ["demo", *IMAGES, *PLACE, "--instance-type", kind], capsys)["AlgorithmSpecification"][
            "TrainingImage"
        ]
    )


def test_a_dry_run_lists_the_files(offline: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["demo", "--train", str(images / "train"), *PLACE, "--dry-run"]) == 0
    few = capsys.readouterr().err
    assert train.main(["demo", "--train", str(images / "train"), *PLACE, "--dry-run", "--full"]) == 0
    shown = capsys.readouterr()
    files = list((images / "train").rglob("*.png"))
    for file in files:
        assert (
            sum(
                line.endswith(f"/{file.parent.name}/{file.name}") and f"{file.stat().st_size:,}" in line
                for line in shown.err.splitlines()
            )
            == 1
        )
    assert f"upload:   {len(files) + 1} files ({len(files)} images), " in shown.err
    assert "more file" in few and few.count("s3://") < shown.err.count("s3://")
    assert "          bundles and reports below s3://" in few and few.endswith("dry run:  nothing was sent\n")
    uri = json.loads(shown.out)["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
    assert f"{uri}NORMAL/" in shown.err
    assert list(offline.iterdir()) == []


def test_without_account_a_dry_run_uses_stand_ins(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = dry(train, ["demo", *IMAGES, "--region", "us-west-2"], capsys)
    assert request["RoleArn"] == "arn:aws:iam::000000000000:role/ROLE"
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://sagemaker-us-west-2-000000000000/thorax"


@pytest.mark.parametrize("strategy", ["random", "bayesian", "grid"])
def test_strategies(strategy: str, offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text(
        "tune: {max_jobs: 9, ranges: {batch_size: {choices: [8, 16]}, network: {choices: [resnet18, cnn5]}}}\n"
    )
    limits = dry(tune, ["own.yaml", *IMAGES, *PLACE, "--strategy", strategy, "--early-stopping"], capsys)[
        "HyperParameterTuningJobConfig"
    ]
    assert limits["Strategy"] == strategy.capitalize()
    assert limits["TrainingJobEarlyStoppingType"] == "Auto"
    assert limits["ResourceLimits"].get("MaxNumberOfTrainingJobs") == (None if strategy == "grid" else 9)


@pytest.mark.parametrize(
    ("objective", "metric", "goal"), [("f1", "validation:f1", "Maximize"), ("loss", "validation:loss", "Minimize")]
)
def test_the_objective_is_the_trainers(
    objective: str, metric: str, goal: str, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = dry(tune, ["pneumonia-resnet18", *IMAGES, *PLACE, "--set", f"objective={objective}"], capsys)
    assert request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] == {
        "Type": goal,
        "MetricName": metric,
    }
    assert request["TrainingJobDefinition"]["StaticHyperParameters"]["objective"] == f'"{objective}"'


def test_the_most_that_it_can_cost(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("prices.yaml").write_text("{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.g5.xlarge: 2.0}}\n")
    words = ["pneumonia-resnet18", *IMAGES, *PLACE, "--prices", "prices.yaml", "--max-hours", "3", "--dry-run"]
    assert train.main([*words, "--instance-count", "2", "--warm-pool-minutes", "30"]) == 0
    assert "machines: 2 x ml.g5.xlarge, at most 3 h, then 30 min of warm pool" in (message := capsys.readouterr().err)
    assert "cost:     at most $14.00 = 7 machine hours x $2 (prices of 2026-11-01)" in message
    assert tune.main(words) == 0
    assert "cost:     at most $60.00 = 30 machine hours x $2" in (message := capsys.readouterr().err)
    assert "10 jobs, 2 at once" in message
    assert train.main([*words, "--instance-type", "ml.p5.48xlarge"]) == 0
    assert "the price table has no ml.p5.48xlarge" in capsys.readouterr().err
    assert train.main([*words, "--region", "us-east-1"]) == 0
    assert "the price table is for eu-central-1, not us-east-1" in capsys.readouterr().err


def test_the_example_of_prices_can_be_read(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = ROOT / "launch" / "prices.example.yaml"
    assert (
        train.main(
            ["pneumonia-resnet18", *IMAGES, *PLACE, "--region", "us-east-1", "--prices", str(example), "--dry-run"]
        )
        == 0
    )
    assert "cost:     at most $" in capsys.readouterr().err
