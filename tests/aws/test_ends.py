"""How jobs of every kind can end, and what a command says then; stopping, and going on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from sagemaker_stand_in import failed
from thorax.errors import ThoraxError
from thorax_launch import sagemaker
from thorax_launch.cli import follow, leaderboard, stop, train, tune
from thorax_launch.sagemaker.endings import ENDINGS, JobEndedError
from thorax_launch.sagemaker.kinds import KINDS

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--yes"]
IMAGES = ["--train", "s3://films/train", "--test", "s3://films/test"]
RUN = "arn:aws:sagemaker:eu-central-1:123456789012:pipeline/chain/execution/a1"
Capture = pytest.CaptureFixture[str]

#: kind -> (state, more of the description) -> exit code, and what the line says.
ENDS = [
    ("training", "Completed", {"SecondaryStatus": "Completed"}, 0, ""),
    ("training", "Failed", {"FailureReason": "AlgorithmError: no"}, 3, "job one failed: AlgorithmError: no"),
    ("training", "Stopped", {"SecondaryStatus": "Stopped"}, 4, "job one was stopped before its end"),
    ("training", "Stopped", {"SecondaryStatus": "MaxRuntimeExceeded"}, 5, "--resume one --max-hours H"),
    ("training", "Completed", {"SecondaryStatus": "MaxRuntimeExceeded"}, 5, "its bundle is half trained"),
    ("training", "Stopped", {"SecondaryStatus": "MaxWaitTimeExceeded"}, 6, "no spot machines within --max-wait-hours"),
    ("training", "Stopped", {"SecondaryStatus": "Interrupted"}, 7, "AWS took its spot machines back"),
    ("training", "Deleting", {}, 8, "job one ended as Deleting"),
    ("search", "Completed", {}, 0, ""),
    ("search", "Failed", {"FailureReason": "All jobs failed"}, 3, "search one failed: All jobs failed"),
    ("search", "Stopped", {}, 4, "--warm-start one"),
    ("search", "DeleteFailed", {}, 8, "search one ended as DeleteFailed"),
    ("transform", "Completed", {}, 0, ""),
    ("transform", "Failed", {"FailureReason": "one bad image"}, 3, "batch transform one failed: one bad image"),
    ("transform", "Stopped", {}, 4, "batch transform one was stopped before its end"),
    ("processing", "Completed", {}, 0, ""),
    ("processing", "Failed", {"FailureReason": "exit code 1"}, 3, "processing job one failed: exit code 1"),
    ("processing", "Stopped", {}, 4, "processing job one was stopped before its end"),
    ("pipeline", "Succeeded", {}, 0, ""),
    ("pipeline", "Failed", {"FailureReason": "Train failed"}, 3, f"pipeline run {RUN} failed: Train failed"),
    ("pipeline", "Stopped", {}, 4, "was stopped before its end"),
    ("pipeline", "CompletedWithFailures", {}, 8, "ended as CompletedWithFailures"),
]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


def is_in(aws: Any, flag: str, *states: dict[str, Any]) -> None:
    """What AWS says about the one thing of that kind, look after look; the last stays."""
    kind, waiting = KINDS[flag], list(states)

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        state = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return {**asked, "CreationTime": 0, **{kind_key(key, kind.resource): value for key, value in state.items()}}

    aws.answers[f"Describe{kind.resource}"] = describe
    aws.answers[f"Stop{kind.resource}"] = lambda _: {}
    dashed = re.sub("(?<!^)([A-Z])", r"-\1", kind.resource).lower()
    aws.tags[f"arn:aws:sagemaker:eu-central-1:123456789012:{dashed}/one"] = {"thorax:made-by": "thorax"}
    if flag == "pipeline":
        listed = [{"PipelineExecutionArn": RUN}]
        aws.answers["ListPipelineExecutions"] = lambda _: {"PipelineExecutionSummaries": listed}
        aws.answers["ListPipelineExecutionSteps"] = lambda _: {"PipelineExecutionSteps": []}


def kind_key(key: str, resource: str) -> str:
    return f"{resource}Status" if key == "state" else key


def begins(flag: str) -> str:
    return "Executing" if flag == "pipeline" else "InProgress"


@pytest.mark.parametrize(("flag", "state", "more", "code", "words"), ENDS)
def test_only_a_completed_job_is_a_success(
    flag: str, state: str, more: dict[str, str], code: int, words: str, aws: Any, capsys: Capture
) -> None:
    is_in(aws, flag, {"state": begins(flag)}, {"state": state, **more})
    assert follow.main(["one", "--kind", flag]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == (1 if code else 0)
    assert all(line.startswith("error: ") and words in line for line in errors)


def test_every_state_of_awss_model_is_an_end_or_not() -> None:
    """Each state of botocore's model is running, the one good end, an end with its own code, or tried above."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    tried = {(flag, state) for flag, state, *_ in ENDS}
    for flag, kind in KINDS.items():
        shape = model.operation_model(f"Describe{kind.resource}").output_shape.members[f"{kind.resource}Status"]
        for state in shape.enum:
            known = state in kind.running or state == kind.good or state in ENDINGS or (flag, state) in tried
            assert known or state == "Deleting", (flag, state)
    codes = [ending.code for ending in ENDINGS.values()]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2} & set(codes)


def test_from_python_too(aws: Any) -> None:
    is_in(aws, "training", {"state": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"})
    with pytest.raises(JobEndedError) as caught:
        sagemaker.TrainingJob("one").wait(logs=False)
    assert (caught.value.status, caught.value.name) == ("MaxRuntimeExceeded", "one")
    assert isinstance(caught.value, ThoraxError)


def test_a_half_trained_bundle_is_not_passed_on(aws: Any, few: Path, capsys: Capture) -> None:
    """`train --wait && deploy` stops at the `&&`."""
    is_in(aws, "training", {"state": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"})
    assert train.main(["demo", *IMAGES, "--job-name", "one", "--wait", *PLACE]) == 5
    assert "bundle:" not in capsys.readouterr().out


@pytest.mark.parametrize("flag", KINDS)
def test_stop(flag: str, aws: Any, capsys: Capture) -> None:
    is_in(aws, flag, {"state": begins(flag)}, {"state": "Stopping"}, {"state": "Stopped"})
    assert stop.main(["one", "--kind", flag, "--wait"]) == 0
    out = capsys.readouterr().out
    assert "is being stopped" in out
    assert out.splitlines()[-1].endswith(": Stopped")
    kind = KINDS[flag]
    assert aws.sent(f"Stop{kind.resource}")[0][kind.identity] == (RUN if flag == "pipeline" else "one")
    assert stop.main(["one", "--kind", flag]) == 0
    assert "has ended already: Stopped" in capsys.readouterr().out


def test_a_name_of_nothing_and_of_two_things(aws: Any, capsys: Capture) -> None:
    assert stop.main(["nowhere"]) == 1
    assert "error: there is no training job, search, batch transform, processing job or pipeline nowhere" in (
        capsys.readouterr().err
    )
    for flag in ("training", "search"):
        is_in(aws, flag, {"state": "InProgress"})
    assert stop.main(["one"]) == 1
    assert "one is the name of several things (training, search): say which by --kind" in capsys.readouterr().err
    is_in(aws, "search", {"state": "Completed"})
    assert stop.main(["one"]) == 0
    assert aws.sent("StopTrainingJob") == [{"TrainingJobName": "one"}]


@pytest.mark.parametrize(("answer", "stopped"), [("y", True), ("n", False)])
def test_ctrl_c_while_a_search_is_waited_for_asks(
    answer: str, stopped: bool, aws: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)

    looks: list[int] = []

    def interrupt(_: Any) -> Any:
        looks.append(1)
        if len(looks) == 1:  # the SDK's own, right after the request
            raise failed("ValidationException", "Could not find it yet")
        raise KeyboardInterrupt

    aws.answers["DescribeHyperParameterTuningJob"] = interrupt
    aws.answers["StopHyperParameterTuningJob"] = lambda _: {}
    assert tune.main(["pneumonia-resnet18", *IMAGES, "--job-name", "one", "--wait", *PLACE]) == 130
    assert bool(aws.sent("StopHyperParameterTuningJob")) == stopped
    assert (
        "search one is being stopped" if stopped else "search one goes on; to watch it again: thorax follow one"
    ) in (capsys.readouterr().out)


def test_what_deploy_would_refuse_is_refused_before_the_search(aws: Any, capsys: Capture) -> None:
    words = ["pneumonia-resnet18", *IMAGES, "--job-name", "one", *PLACE, "--deploy-best"]
    assert tune.main([*words, "--serverless", "--instance-type", "ml.m5.large", "--yes"]) == 1
    assert "--serverless with --instance-type" in capsys.readouterr().err
    assert tune.main([*words, "--endpoint-name", "chest"]) == 1
    assert "--deploy-best: no terminal to confirm on when the search is done: give --yes after it too" in (
        capsys.readouterr().err
    )
    with pytest.raises(SystemExit) as end:
        tune.main([*words, "--instance-tipe", "x"])
    assert end.value.code == 2
    assert leaderboard.main(["one", "--deploy-best", "--autoscale", "x", "--yes"]) == 1
    assert not {"CreateHyperParameterTuningJob", "PutObject", "DescribeHyperParameterTuningJob"} & aws.operations
