"""docs/aws.md's tables of ends, held against what the commands do: each row is brought about and looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aws_scenes import (
    PACKED,
    S3_BUNDLE,
    Bench,
    Case,
    a_shadowed_endpoint,
    an_endpoint,
    everything,
    running_job,
    search_done,
    two_variants,
)
from thorax_launch.sagemaker.endings import ENDINGS, GOES_ON, OTHER, Terminated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "aws.md"
Capture = pytest.CaptureFixture[str]


def rows(first_column: str) -> Iterator[list[str]]:
    """The cells of the table that begins with a column of that name; a blank first cell repeats the one above."""
    lines = PAGE.read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    above = ""
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            return
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        above = cells[0] or above
        yield [above, *cells[1:]]


def test_the_exit_codes_are_the_codes_own() -> None:
    """Each end of the code has its row, and each row its code: 0, 1, 2 and signals besides."""
    told = {}
    for code, job, *_ in rows("exit code"):
        for number in re.findall(r"\d+", code):
            told[int(number)] = job
    for word, ending in ENDINGS.items():
        assert word in told[ending.code], word
    assert told[OTHER.code].startswith("any other end")
    assert told[GOES_ON].startswith("goes on")
    signals = {Terminated(name, number).exit_code for name, number in (("SIGHUP", 1), ("SIGTERM", 15))} | {130}
    assert set(told) == {0, 1, 2, GOES_ON, OTHER.code, *signals, *(ending.code for ending in ENDINGS.values())}


@dataclass(frozen=True)
class Step:
    """How a row is brought about.

    Attributes:
        row: command and step, as the table has them.
        case: the command.
        call: AWS's operation at which it fails: the last of that name in a clean run, of several looks the middle one.
        how: see chaos.Chaos.
        left: kinds of things that are there afterwards and were not before.
        line: what the error says.
    """

    row: tuple[str, str]
    case: Case
    call: str
    how: str
    left: frozenset[str] = frozenset()
    line: str = ""


TRAIN = Case("train", "demo IMAGES --job-name one --yes PLACE --wait")
TUNE = Case("tune", "pneumonia-resnet18 IMAGES --job-name new --yes PLACE --wait")
DEPLOY = Case("deploy", f"{S3_BUNDLE} --endpoint-name new --yes PLACE")
UPDATE = Case("deploy update", f"{S3_BUNDLE} --endpoint-name chest --yes PLACE", an_endpoint)
BATCH = Case("batch", "BUNDLE --data s3://films/thorax/images --out OUT/table.csv --job-name scores --yes PLACE --wait")
PREPARE = Case("prepare", "check s3://films/thorax/images --instances 2 --job-name look --yes PLACE --wait")
PACK = Case("prepare", f"pack s3://films/thorax/images {PACKED} --instances 2 --job-name packing --yes PLACE --wait")
PIPELINE = Case("pipeline", "pneumonia-resnet18 IMAGES --group chest --job-name line --start --yes PLACE")
JOB, SEARCH = frozenset({"TrainingJob"}), frozenset({"HyperParameterTuningJob"})
TRANSFORM, PROCESSING = frozenset({"TransformJob", "Model"}), frozenset({"ProcessingJob"})
STEPS = [
    Step(("train, tune", "uploading"), TRAIN, "ListObjectsV2", "validation"),
    Step(("train, tune", "uploading"), TUNE, "ListObjectsV2", "reset"),
    Step(("train, tune", "sending"), TRAIN, "CreateTrainingJob", "validation", line="nothing was started"),
    Step(("train, tune", "sending"), TRAIN, "CreateTrainingJob", "expired", line="nothing was started"),
    Step(("train, tune", "sending"), TUNE, "CreateHyperParameterTuningJob", "validation", line="nothing was started"),
    Step(("train, tune", "waiting"), TRAIN, "DescribeTrainingJob", "expired", JOB, "thorax follow one"),
    Step(("train, tune", "waiting"), TUNE, "DescribeHyperParameterTuningJob", "expired", SEARCH, "thorax follow new"),
    Step(("deploy", "anything before the endpoint answers"), DEPLOY, "CreateEndpointConfig", "validation"),
    Step(("deploy", "anything before the endpoint answers"), DEPLOY, "InvokeEndpoint", "bug"),
    Step(("deploy", "anything before the endpoint answers"), UPDATE, "UpdateEndpoint", "validation", line="as before"),
    Step(("deploy", "taking it back"), DEPLOY, "InvokeEndpoint", "expired", line="thorax delete new"),
    Step(
        ("deploy shadow:NAME", "anything before the shadow's bundle answers"),
        Case("deploy promotion", "shadow:chest --yes PLACE", a_shadowed_endpoint),
        "UpdateEndpoint",
        "validation",
        line="as before",
    ),
    *(
        Step(
            ("deploy --weights", "anything before each variant answers"),
            Case("deploy weights", "--weights one=1 --endpoint-name chest --yes PLACE", two_variants),
            call,
            "validation",
            line="as before: one 90 %, two 10 %",
        )
        for call in ("UpdateEndpointWeightsAndCapacities", "InvokeEndpoint")
    ),
    Step(("batch", "uploading"), BATCH, "PutObject", "validation"),
    Step(("batch", "sending"), BATCH, "CreateTransformJob", "validation", line="nothing was started"),
    Step(("batch", "waiting"), BATCH, "DescribeTransformJob", "expired", TRANSFORM, "--resume scores"),
    Step(("batch", "fetching the answers"), BATCH, "GetObject", "validation"),
    Step(("prepare", "uploading"), PREPARE, "PutObject", "validation"),
    Step(("prepare", "sending"), PREPARE, "CreateProcessingJob", "validation", line="nothing was started"),
    Step(("prepare", "sending"), PACK, "CreateProcessingJob", "validation", line="nothing was started"),
    Step(("prepare", "waiting"), PREPARE, "DescribeProcessingJob", "expired", PROCESSING, "--resume look"),
    Step(("prepare", "waiting"), PACK, "DescribeProcessingJob", "expired", PROCESSING, "thorax follow packing"),
    Step(("prepare", "fetching the report"), PREPARE, "GetObject", "validation"),
    Step(("pipeline", "making or starting"), PIPELINE, "CreatePipeline", "validation"),
    Step(("pipeline", "making or starting"), PIPELINE, "StartPipelineExecution", "validation", frozenset({"Pipeline"})),
    Step(("stop, delete", "any call"), Case("stop", "one", running_job, None), "StopTrainingJob", "validation"),
    Step(("stop, delete", "any call"), Case("delete", "chest --yes", an_endpoint), "DeleteEndpoint", "validation"),
    Step(("stop, delete", "any call"), Case("delete", "--all --yes", everything, None), "DeleteModel", "validation"),
    *(
        Step(("status, cost, leaderboard, predict, follow", "any call"), case, call, "validation")
        for case, call in (
            (Case("status", "", everything, None), "ListTags"),
            (Case("leaderboard", "sweep", search_done), "ListTrainingJobsForHyperParameterTuningJob"),
            (Case("predict", "chest DATA/train/NORMAL", an_endpoint), "InvokeEndpoint"),
            (Case("follow", "one", running_job), "DescribeTrainingJob"),
        )
    ),
]
#: Kinds that are seen: what is billed, and what is left over.
SEEN = (
    "TrainingJob",
    "HyperParameterTuningJob",
    "TransformJob",
    "ProcessingJob",
    "Endpoint",
    "EndpointConfig",
    "Model",
)


def test_each_row_is_tried_and_nothing_else() -> None:
    assert {(command, step) for command, step, *_ in rows("command")} == {step.row for step in STEPS}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.row[0]}-{step.row[1]}-{step.call}-{step.how}")
def test_what_a_command_leaves(step: Step, bench: Bench, capsys: Capture) -> None:
    for _ in range(2):  # the second finds its uploads in S3, as the one that fails does
        bench.set_up(step.case)
        assert bench.run(step.case) == 0, capsys.readouterr().err
    called = bench.chaos.names
    assert step.call in called, called
    places = [k for k, name in enumerate(called) if name == step.call]
    at = places[len(places) // 2 if step.row[1] == "waiting" else -1]
    bench.set_up(step.case)
    before = set(bench.stand_in.things)
    capsys.readouterr()
    bench.chaos.begin(at, step.how)
    assert bench.run(step.case) != 0
    shown = capsys.readouterr().err
    (error,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert step.line in error
    new = {kind for kind, _ in set(bench.stand_in.things) - before}
    kinds = {kind for kind in new if kind in (*SEEN, "Pipeline")}
    if step.row[1] == "taking it back":  # it may run: the line must say so
        assert kinds <= {"Endpoint", "EndpointConfig", "Model"}
        assert "may run and cost" in error
    elif step.row[0] == "stop, delete":
        assert not new
        bench.chaos.begin()
        assert bench.run(step.case) == 0  # the same command goes on
    elif "fetching" in step.row[1]:
        assert bench.billed() == set()
        assert "Model" not in kinds
    else:
        assert kinds == step.left, error
