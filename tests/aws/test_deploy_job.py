"""`thorax deploy --job NAME`: a training job, the best of a search, a job on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aws_scenes import Bench, Case, an_endpoint, everything, running_job, search_done
from sagemaker_stand_in import StandIn
from thorax_launch.cli import deploy

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--region", "eu-central-1"]
Capture = pytest.CaptureFixture[str]


def done(stand_in: StandIn) -> None:
    """A finished job in a network of its own, and a finished search."""
    search_done(stand_in)
    running_job(stand_in)
    stand_in.things["TrainingJob", "one"] |= {
        "state": "Completed",
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    }


def models(bench: Bench) -> list[dict[str, object]]:
    return [one for (kind, _), one in bench.stand_in.things.items() if kind == "Model"]


@pytest.mark.parametrize("words", ["--job one", "--job=one"])
def test_a_job_is_deployed_with_the_security_of_its_record(words: str, bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("deploy", "", done))
    assert bench.run(Case("deploy", f"{words} --endpoint-name chest --yes")) == 0, capsys.readouterr().err
    (model,) = models(bench)
    assert model["PrimaryContainer"]["ModelDataUrl"] == "s3://films/thorax/one/output/model.tar.gz"
    assert model["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert "from the record of job one: " in capsys.readouterr().out


def test_the_best_job_of_a_search_is_deployed(bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("deploy", "", done))
    assert bench.run(Case("deploy", "--job sweep --endpoint-name chest --yes")) == 0, capsys.readouterr().err
    (model,) = models(bench)
    assert model["PrimaryContainer"]["ModelDataUrl"] == "s3://films/thorax/sweep-001/output/model.tar.gz"
    assert "the best job of sweep: sweep-001" in capsys.readouterr().out


def test_a_job_on_this_machine_is_taken_where_aws_has_none(bench: Bench, light: Path, capsys: Capture) -> None:
    shutil.copytree(light, "runs/here/model")
    bench.set_up(Case("deploy", "", an_endpoint))
    assert bench.run(Case("deploy", "--job here --endpoint-name new --yes PLACE")) == 0, capsys.readouterr().err
    assert "job here of this machine: runs/here/model" in capsys.readouterr().out


def test_of_two_jobs_of_one_name_it_is_said_which(bench: Bench, light: Path, capsys: Capture) -> None:
    shutil.copytree(light, "runs/one/model")
    bench.set_up(Case("deploy", "", done))
    assert bench.run(Case("deploy", "--job one --endpoint-name chest --yes")) == 0, capsys.readouterr().err
    assert "note: runs/one/model on this machine has that name too; eu-central-1's is taken" in capsys.readouterr().out


def test_a_dry_run_takes_a_job_on_this_machine(offline: Path, light: Path, capsys: Capture) -> None:
    shutil.copytree(light, "runs/first/model")
    for name in ("first", "runs/first"):
        assert deploy.main(["--job", name, "--endpoint-name", "chest", *PLACE, "--dry-run"]) == 0
        calls = json.loads(capsys.readouterr().out)
        assert calls["CreateModel"]["PrimaryContainer"]["ModelDataUrl"].startswith("s3://films/thorax/bundles/")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--job none --dry-run", "error: --job none: there is no job of that name in runs on this machine, and with"),
        ("--job none --local", "error: --job none: there is no job of that name in runs on this machine\n"),
        ("--job unfinished --local", "error: job runs/unfinished has no bundle: it did not come to its end"),
    ],
)
def test_what_is_not_there(words: str, message: str, offline: Path, capsys: Capture) -> None:
    for folder in ("input/config", "checkpoints"):
        Path("runs/unfinished", folder).mkdir(parents=True)
    place = [] if "--local" in words else PLACE
    assert deploy.main([*words.split(), *place]) == 1
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("nobody", "error: there is no training job, search"),
        ("scores", "error: --job scores is a batch transform, which leaves no bundle; name a training job or search"),
        ("one", "error: job one left no bundle"),
    ],
)
def test_jobs_that_have_no_bundle(job: str, message: str, bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("deploy", "", everything, None))
    assert bench.run(Case("deploy", f"--job {job} --endpoint-name new --yes")) == 1
    assert capsys.readouterr().err.startswith(message)
