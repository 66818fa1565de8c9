"""What is shown while AWS works: a job's own progress as a live line, short epochs, steps of a pipeline, JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from thorax.tracking import metric_log, progress
from thorax.tracking.progress import HOW, State
from thorax_launch.sagemaker import status
from thorax_launch.sagemaker.kinds import PIPELINE, SEARCH, TRAINING, Kind
from thorax_launch.sagemaker.status import Shown, Watched, follow

EPOCH = metric_log.epoch_line("epoch 1/2", {"train_loss": 0.5, "validation_auc": 0.9}, exclusive=True, seconds=3.0)
PROGRESS = "epoch 2/2: image 1,920/4,684, 31.2 images/s, loss 0.412, 1 min 29 s left"


class Log:
    """Lines of a log, some at each look."""

    def __init__(self, *looks: list[str]) -> None:
        self.looks = list(looks)

    def new_lines(self) -> list[str]:
        return self.looks.pop(0) if self.looks else []


def watched(kind: Kind, described: list[dict[str, Any]], view: Shown) -> None:
    """Follows a job that AWS describes so, one look after the other."""
    answers = iter(described)
    made = datetime.now(UTC) - timedelta(minutes=2)
    api = SimpleNamespace()
    name = {TRAINING: "describe_training_job", SEARCH: "describe_hyper_parameter_tuning_job"}[kind]
    setattr(api, name, lambda **_: {"CreationTime": made, **next(answers)})
    follow(Watched(kind, "one"), api, view)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "POLL", 0.0)


TRAINS = [{"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}] * 3 + [{"TrainingJobStatus": "Completed"}]


def test_on_a_terminal_a_jobs_own_progress_is_the_live_line(monkeypatch, capsys) -> None:
    seen: list[State] = []
    monkeypatch.setenv(HOW, "bar")
    monkeypatch.setattr(progress.Bar, "show", lambda self, state: seen.append(state))
    log = Log([EPOCH, f"[algo-1] {EPOCH}"], [f"[algo-1] {PROGRESS}"], ["test: test_auc=0.900000"])
    watched(TRAINING, TRAINS, Shown(lambda job: job["TrainingJobStatus"], lambda job: {}, log))
    assert capsys.readouterr().out.splitlines() == [
        "InProgress",
        "epoch 1/2  loss 0.500  AUC 0.900  3.0 s",
        "[algo-1] epoch 1/2  loss 0.500  AUC 0.900  3.0 s",
        "Completed",
    ]
    first, last = seen[0], next(state for state in seen if state.total)
    assert (first.title, first.note) == ("job one", "InProgress Training")
    assert first.seconds == pytest.approx(120, abs=20)
    assert (last.title, last.done, last.total) == ("epoch 2/2", 1920, 4684)
    assert last.note == "31.2 images/s, loss 0.412, 1 min 29 s left"


def test_elsewhere_the_log_is_as_it_is(monkeypatch, capsys) -> None:
    monkeypatch.setenv(HOW, "lines")
    watched(TRAINING, TRAINS, Shown(lambda job: "", lambda job: {}, Log([EPOCH, PROGRESS])))
    assert capsys.readouterr().out.splitlines() == [EPOCH, PROGRESS]


def test_json_lines_of_a_search(monkeypatch, capsys) -> None:
    monkeypatch.setenv(HOW, "json")
    monkeypatch.setattr(status, "EVERY", 0.0)
    jobs = [{"HyperParameterTuningJobStatus": "InProgress"}, {"HyperParameterTuningJobStatus": "Completed"}]
    watched(SEARCH, jobs, Shown(lambda job: "", lambda job: {"unit": "job", "done": 3, "total": 10}))
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (found["progress"], found["done"], found["total"], found["unit"]) == ("search one", 3, 10, "job")


def test_a_pipelines_steps(aws: Any, capsys) -> None:
    from thorax_launch.sagemaker.handles import PipelineRun
    from thorax_launch.settings import AwsSettings

    arn = "arn:aws:sagemaker:eu-central-1:123456789012:pipeline/chest/execution/abc"
    states = iter(["Executing", "Succeeded"])
    aws.answers |= {
        "DescribePipelineExecution": lambda _: {"PipelineExecutionStatus": next(states)},
        "ListPipelineExecutionSteps": lambda _: {
            "PipelineExecutionSteps": [
                {"StepName": "Prepare", "StepStatus": "Succeeded"},
                {"StepName": "Train", "StepStatus": "Executing"},
            ]
        },
    }
    assert PipelineRun(arn, AwsSettings(region="eu-central-1")).wait() == PIPELINE.good
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"pipeline run {arn}: Executing; Prepare Succeeded, Train Executing"
