"""Every command with an error at every call to AWS: one line, no success, nothing billed that the line does not name.

And the same command once more comes to what a clean run comes to. Here every fourth call has one kind of error, each
command from another call on; `-m slow` tries every kind at every call.
"""

from __future__ import annotations

from collections import Counter

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
from chaos import KINDS

Capture = pytest.CaptureFixture[str]

CASES = [
    Case("train", "demo IMAGES --job-name one --yes PLACE --wait"),
    Case("train again", "--again one --job-name two --yes", running_job),
    Case("tune", "pneumonia-resnet18 IMAGES --job-name new --target 0.9 --total-hours 2 --yes PLACE --wait"),
    Case("follow", "one", running_job),
    Case("stop", "one --wait", running_job, None),
    Case("status", "", everything, None),
    Case("leaderboard", "sweep --metrics f1", search_done),
    Case("leaderboard deploy", "sweep --deploy-best --endpoint-name best --yes PLACE", search_done),
    Case("delete", "chest --yes", an_endpoint),
    Case("delete all", "--all --yes", everything, None),
    Case("deploy", f"{S3_BUNDLE} --endpoint-name new --autoscale 1,2 --yes PLACE"),
    Case("deploy update", f"{S3_BUNDLE} --endpoint-name chest --yes PLACE", an_endpoint),
    Case("deploy async", f"{S3_BUNDLE} --endpoint-name new --async --autoscale 0,2 --yes PLACE"),
    Case("deploy shadow", f"{S3_BUNDLE} --endpoint-name new --shadow {S3_BUNDLE}:50 --yes PLACE"),
    Case("deploy promotion", "shadow:chest --yes PLACE", a_shadowed_endpoint),
    Case("deploy variants", f"--variant a={S3_BUNDLE}:9 --variant b={S3_BUNDLE} --endpoint-name new --yes PLACE"),
    Case("deploy weights", "--weights one=1,two=1 --endpoint-name chest --yes PLACE", two_variants),
    Case("deploy job", "--job sweep --endpoint-name best --yes", search_done),
    Case("status endpoint", "chest", two_variants),
    Case("deploy several", f"a={S3_BUNDLE} b={S3_BUNDLE} --endpoint-name new --image torchserve --yes PLACE"),
    Case("pipeline", "pneumonia-resnet18 IMAGES --group chest --job-name line --start --yes PLACE"),
    Case("batch", "BUNDLE --data s3://films/thorax/images --out OUT/table.csv --job-name scores --yes PLACE --wait"),
    Case("prepare", "check s3://films/thorax/images --instances 2 --job-name look --yes PLACE --wait"),
    Case("prepare pack", f"pack s3://films/thorax/images {PACKED} --instances 2 --job-name packing --yes PLACE --wait"),
    Case("predict", "chest DATA/train/NORMAL/a.png", an_endpoint),
]
#: Every STEP-th call has one kind of error, in turn; in `slow` every call has every kind.
STEP = 4
TURNS = ("timeout", "expired", "lost", "reset", "validation", "throttle")


def clean(bench: Bench, case: Case, capsys: Capture) -> tuple[int, Counter[tuple[str, str]]]:
    """(calls of a run without an error, what is there after it)."""
    for _ in range(2):  # the second finds its uploads in S3, as all later ones do
        bench.set_up(case)
        assert bench.run(case) == 0, capsys.readouterr().err
    assert bench.chaos.count > 0
    return bench.chaos.count, bench.state()


def hold(bench: Bench, case: Case, at: int, kind: str, expected: Counter[tuple[str, str]], capsys: Capture) -> None:
    """One run with an error, and one more without."""
    bench.set_up(case)
    before = bench.billed()
    capsys.readouterr()
    bench.chaos.begin(at, kind)
    code = bench.run(case)
    shown = capsys.readouterr().err
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    where = f"{kind} at call {at}: exit code {code}: {errors}"
    if code == 0:  # it was tried again, or was no error of what was asked for
        assert (errors, bench.state()) == ([], expected), where
        return
    assert len(errors) == 1, f"{where}: {shown}"
    assert "Traceback" not in shown
    assert shown.splitlines()[-1] == errors[0], where
    new = bench.billed() - before
    assert all(name in errors[0] for name in new), f"{where}: {new} is billed"
    assert "run the same command again" not in errors[0]
    bench.chaos.begin()
    assert bench.run(case) == 0, f"{where}: then {capsys.readouterr().err}"
    assert bench.state() == expected, where


#: Ways out besides AWS's errors, and the exit code of each where it ends the command.
WAYS_OUT = {"bug": 1, "Ctrl-C": 130, "SIGTERM": 143, "SIGHUP": 129}


def leave(bench: Bench, case: Case, at: int, kind: str, expected: Counter[tuple[str, str]], capsys: Capture) -> None:
    """One run that is ended in another way, and one more that is not."""
    bench.set_up(case)
    before = bench.billed()
    capsys.readouterr()
    bench.chaos.begin(at, kind)
    code = bench.run(case)
    shown = capsys.readouterr()
    where = f"{kind} at call {at}: exit code {code}: {shown.err}"
    assert "Traceback" not in shown.err, where
    if code == 0:  # nothing ended it, as SIGHUP does not under nohup
        assert bench.state() == expected, where
        return
    assert code == WAYS_OUT[kind], where
    told = f"{shown.out.splitlines()[-1:]}{shown.err.splitlines()[-1:]}"
    assert all(name in told for name in bench.billed() - before) or "thorax status" in told, where
    if case.name.startswith("deploy"):
        assert bench.billed() == before, where
    bench.chaos.begin()
    assert bench.run(case) == 0, where
    assert bench.state() == expected, where


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_error_at_a_call(case: Case, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    turn = CASES.index(case)
    for at in range(turn % STEP, calls, STEP):
        hold(bench, case, at, TURNS[(at // STEP + turn) % len(TURNS)], expected, capsys)


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.name)
def test_every_way_out_at_a_call(case: Case, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    kinds, turn = list(WAYS_OUT), CASES.index(case)
    for at in range((turn + 1) % STEP, calls, STEP):
        leave(bench, case, at, kinds[(at // STEP + turn) % len(kinds)], expected, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_error_at_every_call(case: Case, kind: str, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    for at in range(calls):
        hold(bench, case, at, kind, expected, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WAYS_OUT)
@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.name)
def test_every_way_out_at_every_call(case: Case, kind: str, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    for at in range(calls):
        leave(bench, case, at, kind, expected, capsys)
