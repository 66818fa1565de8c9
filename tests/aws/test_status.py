"""Everything of ours that is billed: `thorax status` lists it, `thorax delete --all` ends it, and nothing else."""

from __future__ import annotations

import pytest

from aws_scenes import Bench, Case, everything, running_job
from sagemaker_stand_in import JOBS, StandIn

Capture = pytest.CaptureFixture[str]
#: One of each kind, as a line of status begins.
BILLED = (
    "job one",
    "search sweep",
    "batch transform scores",
    "processing job check",
    "pipeline chain",
    "endpoint chest",
    "warm pool",
    "alarm thorax-gone-wake",
)


def with_anothers(stand_in: StandIn) -> None:
    """One of each kind of ours, and a job of somebody else, who has a tag `project=thorax` too."""
    everything(stand_in)
    running_job(stand_in, "foreign")
    stand_in.things["TrainingJob", "foreign"]["Tags"] = [{"Key": "project", "Value": "thorax"}]


def test_all_that_is_billed_is_listed_and_nothing_of_others(bench: Bench, capsys: Capture) -> None:
    case = Case("status", "", with_anothers, None)
    bench.set_up(case)
    assert bench.run(case) == 0
    shown = capsys.readouterr().out
    for what in BILLED:
        assert what in shown, what
    assert "foreign" not in shown
    assert "to end all: " in shown


def test_all_of_it_is_ended_and_nothing_of_others(bench: Bench, capsys: Capture) -> None:
    case = Case("delete all", "--all --yes", with_anothers, None)
    bench.set_up(case)
    assert bench.run(Case("delete all", "--all --dry-run")) == 0
    planned = [line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines() if line.startswith("to ")]
    assert bench.billed() > {"foreign"}
    assert bench.run(case) == 0
    done = capsys.readouterr().out
    assert all(what in done for what in planned)
    things = bench.stand_in.things
    jobs = {kind: one for kind, one in things.items() if kind[0] in (*JOBS, "PipelineExecution")}
    running = {name for (_, name), one in jobs.items() if one["state"] in ("InProgress", "Executing")}
    assert running == {"foreign"}
    assert not {kind for kind, _ in things} & {"Model", "EndpointConfig", "Endpoint", "Alarm", "Target"}
    assert things["TrainingJob", "pool"]["WarmPoolStatus"] == {"Status": "Terminated"}
