"""Every command with an error at every call to AWS: one line, no success, nothing billed that the line does not name.

And the same command once more comes to what a clean run comes to. Not every kind of error is tried at every call here
(they take turns; `-m slow` tries all of them).
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from chaos import KINDS, Chaos
from sagemaker_stand_in import StandIn

PLACE = ["--bucket", "films", "--role", "arn:aws:iam::123456789012:role/thorax-execution"]
S3_BUNDLE = "s3://films/thorax/one/output/model.tar.gz"
IMAGES = ["--train", "s3://films/train", "--test", "s3://films/test"]
TAGS = [{"Key": "thorax:made-by", "Value": "thorax"}]
Capture = pytest.CaptureFixture[str]


def running_job(stand_in: StandIn, name: str = "one") -> None:
    parameters = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": PLACE[3],
        "HyperParameters": {"epochs": '"3"'},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "OutputDataConfig": {"S3OutputPath": "s3://films/thorax"},
        "CheckpointConfig": {"S3Uri": f"s3://films/thorax/{name}/checkpoints/"},
        "Tags": TAGS,
    }
    stand_in.call("CreateTrainingJob", parameters)


def search_done(stand_in: StandIn, name: str = "sweep") -> None:
    goal = {"Type": "Maximize", "MetricName": "validation:auc"}
    config = {"Strategy": "Bayesian", "HyperParameterTuningJobObjective": goal}
    request = {"HyperParameterTuningJobName": name, "HyperParameterTuningJobConfig": config, "Tags": TAGS}
    stand_in.call("CreateHyperParameterTuningJob", request)
    running_job(stand_in, f"{name}-001")
    for thing in stand_in.things.values():
        thing["state"] = "Completed"


def an_endpoint(stand_in: StandIn) -> None:
    for call, more in (
        ("Model", {"PrimaryContainer": {}}),
        (
            "EndpointConfig",
            {"ProductionVariants": [{"VariantName": "main", "ModelName": "chest-0", "InstanceType": "ml.m5.large"}]},
        ),
    ):
        stand_in.call(f"Create{call}", {f"{call}Name": "chest-0", "Tags": TAGS, **more})
    stand_in.call("CreateEndpoint", {"EndpointName": "chest", "EndpointConfigName": "chest-0", "Tags": TAGS})
    target = {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/chest/variant/main"}
    stand_in.call("RegisterScalableTarget", target)


def everything(stand_in: StandIn) -> None:
    """One of each kind of thing that is billed, and what is left over."""
    an_endpoint(stand_in)
    running_job(stand_in)
    running_job(stand_in, "pool")
    stand_in.things["TrainingJob", "pool"] |= {"state": "Completed", "WarmPoolStatus": {"Status": "Available"}}
    search_request = {"HyperParameterTuningJobName": "sweep", "HyperParameterTuningJobConfig": {}, "Tags": TAGS}
    stand_in.call("CreateHyperParameterTuningJob", search_request)
    running_job(stand_in, "sweep-001")
    transform = {"TransformJobName": "scores", "ModelName": "lost", "TransformResources": {}, "Tags": TAGS}
    stand_in.call("CreateTransformJob", transform)
    stand_in.call("CreateProcessingJob", {"ProcessingJobName": "check", "Tags": TAGS})
    stand_in.call("CreatePipeline", {"PipelineName": "chain", "Tags": TAGS})
    stand_in.call("StartPipelineExecution", {"PipelineName": "chain", "ClientRequestToken": "a"})
    stand_in.call("CreateModel", {"ModelName": "lost", "Tags": TAGS})
    dimension = {"Name": "EndpointName", "Value": "gone"}
    alarm = {"AlarmName": "gone-wake", "Namespace": "AWS/SageMaker", "MetricName": "HasBacklogWithoutCapacity"}
    stand_in.call("PutMetricAlarm", {**alarm, "Dimensions": [dimension]})


def nothing(_: StandIn) -> None:
    """An account without anything."""


@dataclass(frozen=True)
class Case:
    """A command line, and what is there before it; BUNDLE and DATA stand for folders."""

    name: str
    words: str
    before: Callable[[StandIn], None] = nothing
    looks: int | None = 2


CASES = [
    Case("train", "demo IMAGES --job-name one --yes PLACE --wait"),
    Case("train again", "--again one --job-name two --yes", running_job),
    Case("tune", "pneumonia-resnet18 IMAGES --job-name new --yes PLACE --wait"),
    Case("follow", "one", running_job),
    Case("stop", "one --wait", running_job, None),
    Case("status", "", everything, None),
    Case("leaderboard", "sweep", search_done),
    Case("leaderboard deploy", "sweep --deploy-best --endpoint-name best --yes PLACE", search_done),
    Case("delete", "chest --yes", an_endpoint),
    Case("delete all", "--all --yes", everything, None),
    Case("deploy", f"{S3_BUNDLE} --endpoint-name new --autoscale 1,2 --yes PLACE"),
    Case("deploy update", f"{S3_BUNDLE} --endpoint-name chest --yes PLACE", an_endpoint),
    Case("deploy async", f"{S3_BUNDLE} --endpoint-name new --async --autoscale 0,2 --yes PLACE"),
    Case("pipeline", "pneumonia-resnet18 IMAGES --group chest --job-name line --start --yes PLACE"),
    Case("batch", "BUNDLE --data s3://films/thorax/images --out OUT/table.csv --job-name scores --yes PLACE --wait"),
    Case("predict", "chest DATA/train/NORMAL", an_endpoint),
]
#: Errors that a case's calls take in turn; in `slow` every call has every kind.
TURNS = ("timeout", "expired", "lost", "reset", "validation", "throttle")


@dataclass
class Bench:
    """One account that is cleared between runs; commands run in this process."""

    aws: Any
    stand_in: StandIn
    chaos: Chaos
    folders: dict[str, str]

    def set_up(self, case: Case) -> None:
        self.chaos.begin()
        self.stand_in.clear()
        self.stand_in.looks = case.looks
        case.before(self.stand_in)

    def run(self, case: Case) -> int:
        words: list[str] = []
        for word in case.words.split():
            known = {"PLACE": PLACE, "IMAGES": IMAGES}.get(word)
            for stands, folder in self.folders.items():
                word = word.replace(stands, folder)
            words += known or [word]
        command = importlib.import_module(f"thorax_launch.cli.{case.name.split()[0]}")
        return int(command.main(words))

    def state(self) -> Counter[tuple[str, str]]:
        """How many things of each kind are in which state; models and configurations, which cost nothing, apart."""
        states = [(kind, one.get("state", "")) for (kind, _), one in self.stand_in.things.items()]
        free = ("Model", "EndpointConfig", "ModelPackageGroup")
        return Counter(
            (kind, "Stopped" if state == "Stopping" else state) for kind, state in states if kind not in free
        )

    def billed(self) -> set[str]:
        return self.stand_in.billed()


@pytest.fixture
def bench(aws: Any, light: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    import botocore.handlers
    from sagemaker.core.utils.utils import SageMakerClient

    for key in ("new/smoke/answer.out", "images/a.png", "scores/scores/a.png.out"):
        aws.client("s3").put_object(Bucket="films", Key=f"thorax/{key}", Body=b"[0.25]")
    aws.calls.clear()
    stand_in = StandIn()
    chaos = Chaos(stand_in)
    hooks = [("provide-client-params", stand_in.remember), ("before-call", chaos.before), ("after-call", chaos.after)]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*hooks, *botocore.handlers.BUILTIN_HANDLERS])
    SageMakerClient.reset()
    session, clients, numbers = boto3.Session(region_name="eu-central-1"), {}, iter(range(1, 100_000))
    make = session.client

    def client(service: str, region_name: str | None = None, **more: Any) -> Any:
        """Made once: a client takes 50 ms, and there are thousands of runs."""
        if service not in clients:
            clients[service] = make(service, region_name=region_name or "eu-central-1", **more)
        return clients[service]

    monkeypatch.setattr(session, "client", client)
    monkeypatch.setattr("boto3.Session", lambda **_: session)
    monkeypatch.setattr("boto3.client", client)
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    monkeypatch.setattr("thorax_launch.sagemaker.smoke_tests.POLL", 0.0)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    monkeypatch.setattr("thorax_launch.sagemaker.deployment.dated", lambda name: f"{name}-{next(numbers)}")
    monkeypatch.setattr("thorax_launch.sagemaker.requests.commit", lambda: "")
    yield Bench(aws, stand_in, chaos, {"BUNDLE": str(light), "DATA": str(few), "OUT": str(tmp_path)})
    SageMakerClient.reset()


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_error_at_every_call(case: Case, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    turn = CASES.index(case)
    for at in range(calls):
        hold(bench, case, at, TURNS[(at + turn) % len(TURNS)], expected, capsys)


#: Ways out besides AWS's errors, and the exit code of each where it ends the command.
WAYS_OUT = {"bug": 1, "Ctrl-C": 130, "SIGTERM": 143, "SIGHUP": 129}


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "predict"], ids=lambda case: case.name)
def test_every_way_out_at_every_call(case: Case, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    kinds = list(WAYS_OUT)
    for at in range(calls):
        kind = kinds[(at + CASES.index(case)) % len(kinds)]
        bench.set_up(case)
        before = bench.billed()
        capsys.readouterr()
        bench.chaos.begin(at, kind)
        code = bench.run(case)
        shown = capsys.readouterr()
        where = f"{kind} at call {at}: exit code {code}: {shown.err}"
        assert code == WAYS_OUT[kind] or (code == 0 and bench.state() == expected), where
        assert "Traceback" not in shown.err, where
        told = f"{shown.out.splitlines()[-1:]}{shown.err.splitlines()[-1:]}"
        assert all(name in told for name in bench.billed() - before) or "thorax status" in told, where
        if case.name.startswith("deploy"):
            assert bench.billed() == before, where
        bench.chaos.begin()
        assert bench.run(case) == 0, where
        assert bench.state() == expected, where


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_error_at_every_call(case: Case, kind: str, bench: Bench, capsys: Capture) -> None:
    calls, expected = clean(bench, case, capsys)
    for at in range(calls):
        hold(bench, case, at, kind, expected, capsys)
