"""When a search on AWS ends before its last job, what it costs then at most, and what its jobs run on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import cost, follow, leaderboard, train, tune

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--region", "eu-central-1"]
WORDS = ["pneumonia-resnet18", "--train", "s3://films/train", *PLACE]
RECIPE = "hyperparameters: {network: cnn5}\ntune: "
Capture = pytest.CaptureFixture[str]


def dry(capsys: Capture, *more: str) -> tuple[dict[str, Any], str]:
    """(The request, what is said about it)."""
    assert tune.main([*WORDS, "--dry-run", *more]) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_without_a_goal_nothing_ends_it(offline: Path, capsys: Capture) -> None:
    request, said = dry(capsys)
    config = request["HyperParameterTuningJobConfig"]
    assert "TuningJobCompletionCriteria" not in config
    assert "MaxRuntimeInSeconds" not in config["ResourceLimits"]
    assert "Autotune" not in request
    assert "ends:" not in said


def test_every_goal_is_sent(offline: Path, capsys: Capture) -> None:
    goals = ["--target", "0.98", "--not-improving", "4", "--until-converged", "--total-hours", "2.5"]
    request, said = dry(capsys, *goals)
    config = request["HyperParameterTuningJobConfig"]
    assert config["TuningJobCompletionCriteria"] == {
        "TargetObjectiveMetricValue": 0.98,
        "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 4},
        "ConvergenceDetected": {"CompleteOnConvergence": "Enabled"},
    }
    assert config["ResourceLimits"]["MaxRuntimeInSeconds"] == 9000
    assert "after 2.5 h, and its running jobs with it; when validation:auc reaches 0.98; after 4 jobs" in said


def test_goals_are_keys_of_a_recipe_that_flags_replace(offline: Path, capsys: Capture) -> None:
    ranges = "ranges: {dropout: {min: 0, max: 0.5}}"
    Path("own.yaml").write_text(f"{RECIPE}{{total_hours: 3, target: 0.9, not_improving: 5, {ranges}}}")
    assert tune.main(["own.yaml", *WORDS[1:], "--dry-run", "--target", "0.95", "--total-hours", "0"]) == 0
    config = json.loads(capsys.readouterr().out)["HyperParameterTuningJobConfig"]
    assert config["TuningJobCompletionCriteria"]["TargetObjectiveMetricValue"] == 0.95
    assert config["TuningJobCompletionCriteria"]["BestObjectiveNotImproving"] == {
        "MaxNumberOfTrainingJobsNotImproving": 5
    }
    assert "MaxRuntimeInSeconds" not in config["ResourceLimits"]


def test_autotune_chooses_what_is_not_set(offline: Path, capsys: Capture) -> None:
    ranges = "ranges: {learning_rate: {auto: 0.001}, dropout: {min: 0, max: 0.5}}"
    Path("own.yaml").write_text(f"{RECIPE}{{autotune: true, {ranges}}}")
    assert tune.main(["own.yaml", *WORDS[1:], "--dry-run"]) == 0
    request = json.loads(capsys.readouterr().out)
    config = request["HyperParameterTuningJobConfig"]
    assert request["Autotune"] == {"Mode": "Enabled"}
    assert config["ParameterRanges"]["AutoParameters"] == [{"Name": "learning_rate", "ValueHint": "0.001"}]
    assert [one["Name"] for one in config["ParameterRanges"]["ContinuousParameterRanges"]] == ["dropout"]
    assert "TrainingJobEarlyStoppingType" not in config
    assert "learning_rate" not in request["TrainingJobDefinition"]["StaticHyperParameters"]


@pytest.mark.parametrize(
    ("tuned", "words", "message"),
    [
        ("{ranges: {lr: {auto: 0.1}}}", [], "tune.ranges.lr is {auto: ...}, which is for autotune"),
        ("{autotune: true, ranges: {lr: {auto: 90}}}", [], "lr=90 is out of range"),
        (
            "{ranges: {lr: {min: 0.1, max: 1}}}",
            ["--target", "98"],
            "target=98.0 of tune must be a value of auc, 0 to 1",
        ),
        ("{ranges: {lr: {min: 0.1, max: 1}}}", ["--target", "nan"], "target=nan of tune must be"),
        ("{ranges: {lr: {min: 0.1, max: 1}}}", ["--not-improving", "2"], "--not-improving 2: AWS takes 3 jobs or more"),
        ("{ranges: {lr: {min: 0.1, max: 1}}}", ["--not-improving", "-1"], "not_improving=-1 of tune"),
        ("{ranges: {lr: {min: 0.1, max: 1}}}", ["--total-hours", "0.01"], "--total-hours 0.01: AWS takes 2 minutes to"),
        ("{ranges: {lr: {min: 0.1, max: 1}}}", ["--total-hours", "5000"], "--total-hours 5000: AWS takes 2 minutes to"),
        ("{ranges: {lr: {min: 0.1, max: 1}}}", ["--total-hours", "inf"], "total_hours=inf of tune must be a number"),
        ("{total_hours: two, ranges: {lr: {min: 0.1, max: 1}}}", [], "total_hours=two of tune must be a number"),
        ("{autotune: 1, ranges: {lr: {min: 0.1, max: 1}}}", [], "autotune=1 of tune must be true or false"),
        (
            "{ranges: {lr: {min: 0.1, max: 1}}}",
            ["--warm-pool-minutes", "10"],
            "--warm-pool-minutes 10: AWS's tuning jobs reuse their machines from job to job by themselves",
        ),
    ],
)
def test_what_is_refused(tuned: str, words: list[str], message: str, offline: Path, capsys: Capture) -> None:
    Path("own.yaml").write_text(f"{RECIPE}{tuned}")
    assert tune.main(["own.yaml", *WORDS[1:], "--dry-run", *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_loss_may_be_a_target(offline: Path, capsys: Capture) -> None:
    request, _ = dry(capsys, "--set", "objective=loss", "--target", "0")
    config = request["HyperParameterTuningJobConfig"]
    assert config["TuningJobCompletionCriteria"] == {"TargetObjectiveMetricValue": 0.0}
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": "validation:loss"}


def test_a_recipes_warm_pool_is_left_out_and_said(offline: Path, capsys: Capture) -> None:
    Path("own.yaml").write_text(f"warm_pool_minutes: 10\n{RECIPE}{{ranges: {{dropout: {{min: 0, max: 0.5}}}}}}")
    assert tune.main(["own.yaml", *WORDS[1:], "--dry-run", "--max-hours", "1", "--max-jobs", "4"]) == 0
    shown = capsys.readouterr()
    assert "KeepAlivePeriodInSeconds" not in json.loads(shown.out)["TrainingJobDefinition"]["ResourceConfig"]
    assert "warm_pool_minutes of recipe own is left out: AWS's tuning jobs reuse their machines" in shown.err
    assert "4 machine hours" in shown.err


def test_the_longest_time_bounds_the_cost(offline: Path, capsys: Capture) -> None:
    """Two jobs at once for 2.5 hours are 5 machine hours; ten jobs of an hour would be 10."""
    Path("prices.yaml").write_text("{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.m5.xlarge: 2.0}}")
    machine = ["--instance-type", "ml.m5.xlarge", "--max-hours", "1", "--prices", "prices.yaml"]
    _, said = dry(capsys, *machine, "--total-hours", "2.5")
    assert "10 jobs, 2 at once, 2.5 h in all" in said
    assert "at most $10.00 = 5 machine hours x $2" in said
    _, said = dry(capsys, *machine, "--total-hours", "100")
    assert "at most $20.00 = 10 machine hours x $2" in said
    words = ["pneumonia-resnet18", "--region", "eu-central-1", *machine, "--total-hours", "2.5", "--months", "0"]
    assert cost.main(words) == 0
    assert "2.5 h in all: $10.00 = 5 machine hours" in capsys.readouterr().out


def test_spot_jobs_of_a_search_keep_their_checkpoints_apart(offline: Path, capsys: Capture) -> None:
    request, said = dry(capsys, "--spot", "--max-hours", "2", "--job-name", "sweep")
    definition = request["TrainingJobDefinition"]
    assert definition["EnableManagedSpotTraining"] is True
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400}
    assert definition["CheckpointConfig"] == {"S3Uri": "s3://films/thorax/sweep/checkpoints/"}
    assert definition["Environment"]["THORAX_CHECKPOINTS"] == "per-job"  # the trainer's; each in a folder of its own
    assert "(spot)" in said


def test_goals_reach_aws(aws: Any, capsys: Capture) -> None:
    words = [*WORDS, "--job-name", "one", "--target", "0.9", "--autotune", "--total-hours", "1", "--yes"]
    assert tune.main(words) == 0, capsys.readouterr().err
    (sent,) = aws.sent("CreateHyperParameterTuningJob")
    assert sent["Autotune"] == {"Mode": "Enabled"}
    assert sent["HyperParameterTuningJobConfig"]["TuningJobCompletionCriteria"] == {"TargetObjectiveMetricValue": 0.9}
    several = ["--job-name", "two", "--instance-type", "ml.g5.xlarge,ml.g6.xlarge", "--yes"]
    assert tune.main([*WORDS, *several]) == 0, capsys.readouterr().err
    resources = aws.sent("CreateHyperParameterTuningJob")[1]["TrainingJobDefinition"]
    assert len(resources["HyperParameterTuningResourceConfig"]["InstanceConfigs"]) == 2


def described(**more: Any) -> dict[str, Any]:
    goal = {"Type": "Maximize", "MetricName": "validation:auc"}
    return {
        "HyperParameterTuningJobName": "one",
        "HyperParameterTuningJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/one",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 3600},
            "HyperParameterTuningJobObjective": goal,
        },
        "CreationTime": datetime.now(UTC),
        "TrainingJobStatusCounters": {"Completed": 2, "InProgress": 0},
        "ObjectiveStatusCounters": {"Succeeded": 2},
        **more,
    }


def test_a_search_whose_time_is_over_says_so(aws: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    stopped: dict[str, Any] = {"HyperParameterTuningJobStatus": "Stopped"}
    aws.answers["DescribeHyperParameterTuningJob"] = lambda _: described(
        **stopped, ConsumedResources={"RuntimeInSeconds": 3605}
    )
    assert follow.main(["one", "--kind", "search"]) == 5
    error = capsys.readouterr().err.splitlines()[-1]
    assert "search one was stopped by AWS after its longest time (--total-hours)" in error
    assert "thorax leaderboard one" in error
    aws.answers["DescribeHyperParameterTuningJob"] = lambda _: described(
        **stopped, ConsumedResources={"RuntimeInSeconds": 600}
    )
    assert follow.main(["one", "--kind", "search"]) == 4


# -- Further metrics of each job ---------------------------------------------------------------------------------------


def test_the_leaderboard_shows_further_metrics(aws: Any, capsys: Capture) -> None:
    aws.answers["DescribeHyperParameterTuningJob"] = lambda _: described(HyperParameterTuningJobStatus="Completed")
    began = datetime(2026, 11, 21, 10, tzinfo=UTC)
    found = {"one-001": (0.97, 0.5), "one-002": (0.91, 0.75)}
    aws.answers["ListTrainingJobsForHyperParameterTuningJob"] = lambda _: {
        "TrainingJobSummaries": [
            {
                "TrainingJobName": name,
                "TrainingJobStatus": "Completed",
                "CreationTime": began,
                "TunedHyperParameters": {"lr": "0.1"},
                "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:auc", "Value": auc},
            }
            for name, (auc, _) in found.items()
        ]
    }
    aws.answers["DescribeTrainingJob"] = lambda asked: {
        "TrainingJobName": asked["TrainingJobName"],
        "TrainingJobStatus": "Completed",
        "FinalMetricDataList": [
            {"MetricName": "validation:f1", "Value": found[asked["TrainingJobName"]][1], "Timestamp": 0}
        ],
    }
    assert leaderboard.main(["one", "--csv", "plain.csv"]) == 0
    assert not aws.sent("DescribeTrainingJob")
    assert leaderboard.main(["one", "--metrics", "f1,validation:loss", "--csv", "board.csv"]) == 0
    assert [line.rsplit(",", 2)[0] for line in Path("board.csv").read_text().splitlines()] == [
        "rank,job,status,validation:auc,validation:f1,validation:loss,lr",
        "1,one-001,Completed,0.970000,0.500000,,0.1",
        "2,one-002,Completed,0.910000,0.750000,,0.1",
    ]
    capsys.readouterr()
    assert leaderboard.main(["one", "--metrics", "dice"]) == 1
    assert capsys.readouterr().err.startswith("error: --metrics dice: it must be one of ")


# -- A warm pool for what a search leaves to do ------------------------------------------------------------------------


def test_jobs_after_a_search_may_share_a_warm_pool(offline: Path, capsys: Capture) -> None:
    words = ["pneumonia-resnet18", "--train", "s3://films/train", *PLACE, "--warm-pool-minutes", "10", "--dry-run"]
    assert train.main(words) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600
    assert "then 10 min of warm pool" in shown.err
