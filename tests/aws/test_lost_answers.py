"""No answer came to a call: what it did all the same is found, named, and not done twice."""

from __future__ import annotations

import pytest
from botocore.exceptions import ConnectionClosedError

from aws_scenes import S3_BUNDLE, Bench, Case, an_endpoint

Capture = pytest.CaptureFixture[str]
PIPELINE = Case("pipeline", "pneumonia-resnet18 IMAGES --group chest --job-name line --start --yes PLACE")
PREPARE = Case("prepare", "check s3://films/thorax/images --instances 2 --job-name look --yes PLACE --wait")


def fail(bench: Bench, case: Case, call: str, how: str) -> int:
    """The exit code of a command of which the last call of that name fails."""
    for _ in range(2):
        bench.set_up(case)
        assert bench.run(case) == 0
    names = bench.chaos.names
    at = len(names) - 1 - names[::-1].index(call)
    bench.set_up(case)
    bench.chaos.begin(at, how)
    return bench.run(case)


def runs(bench: Bench) -> list[str]:
    return [name for kind, name in bench.stand_in.things if kind == "PipelineExecution"]


def test_a_run_whose_answer_was_lost_is_found(bench: Bench, capsys: Capture) -> None:
    assert fail(bench, PIPELINE, "StartPipelineExecution", "timeout") == 0
    (run,) = runs(bench)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"started: {run}")


@pytest.mark.parametrize("how", ["reset", "validation"])
def test_a_run_that_was_not_started_is_an_error(how: str, bench: Bench, capsys: Capture) -> None:
    assert fail(bench, PIPELINE, "StartPipelineExecution", how) == 1
    assert runs(bench) == []
    assert capsys.readouterr().err.splitlines()[-1].endswith("no run was started: the same command starts one")


def test_where_aws_cannot_be_asked_the_line_says_that_a_run_may_be_there(bench: Bench, capsys: Capture) -> None:
    """Else the same command would start a second one."""
    for _ in range(2):
        bench.set_up(PIPELINE)
        assert bench.run(PIPELINE) == 0
    answers, listed = bench.stand_in.respond, []

    def gone(model: object, **more: object) -> object:
        if getattr(model, "name", "") == "ListPipelineExecutions":
            listed.append(model)
            if len(listed) > 1:  # the first is before the start
                raise ConnectionClosedError(endpoint_url="https://aws")
        return answers(model, **more)

    at = bench.chaos.names.index("StartPipelineExecution")
    bench.set_up(PIPELINE)
    bench.stand_in.respond = gone  # type: ignore[method-assign]
    bench.chaos.begin(at, "timeout")
    capsys.readouterr()
    assert bench.run(PIPELINE) == 1
    assert "a run of line may have been started: `thorax follow line` tells" in capsys.readouterr().err.splitlines()[-1]


def test_an_alarm_that_cannot_be_taken_back_is_named(bench: Bench, capsys: Capture) -> None:
    case = Case("deploy", f"{S3_BUNDLE} --endpoint-name chest --canary 10 --yes PLACE", an_endpoint)
    assert fail(bench, case, "InvokeEndpoint", "expired") == 1
    assert ("Alarm", "thorax-chest-errors") in bench.stand_in.things
    last = capsys.readouterr().err.splitlines()[-1]
    assert "endpoint chest and alarm thorax-chest-errors may run and cost; see to it: thorax delete chest" in last


def test_an_error_that_nobody_foresaw_says_where_to_look(bench: Bench, capsys: Capture) -> None:
    assert fail(bench, PREPARE, "DescribeProcessingJob", "bug") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: unexpected RuntimeError: nobody foresaw this; what runs: thorax status"


def test_a_report_that_cannot_be_fetched_is_fetched_again(bench: Bench, capsys: Capture) -> None:
    assert fail(bench, PREPARE, "GetObject", "timeout") == 1
    assert "the same command with --resume look --wait fetches" in capsys.readouterr().err.splitlines()[-1]
