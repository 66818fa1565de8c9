"""An account of things with states, which is cleared between runs, and what may be there before a command."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from aws_calls import ACCOUNT, REGION
from chaos import Chaos
from iam_simulator import target_arn
from sagemaker_stand_in import StandIn
from thorax_launch.sagemaker.bundles import in_s3
from thorax_launch.settings import AwsSettings

PLACE = ["--bucket", "films", "--role", "arn:aws:iam::123456789012:role/thorax-execution"]
PACKED = "s3://films/thorax/packed"
S3_BUNDLE = "s3://films/thorax/one/output/model.tar.gz"
IMAGES = ["--train", "s3://films/train", "--test", "s3://films/test"]
TAGS = [{"Key": "thorax:made-by", "Value": "thorax"}]


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
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/chest/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    ours = {tag["Key"]: tag["Value"] for tag in TAGS}
    stand_in.call("RegisterScalableTarget", {**target, "MinCapacity": 1, "MaxCapacity": 2, "Tags": ours})


def a_shadowed_endpoint(stand_in: StandIn) -> None:
    """Behind it chest-0, and chest-0-shadow in its shadow; it keeps requests, with a key of its own."""
    machine = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 2, "InitialVariantWeight": 1.0}
    for name in ("chest-0", "chest-0-shadow"):
        stand_in.call("CreateModel", {"ModelName": name, "PrimaryContainer": {}, "Tags": TAGS})
    config = {
        "EndpointConfigName": "chest-0",
        "ProductionVariants": [{"VariantName": "main", "ModelName": "chest-0", **machine}],
        "ShadowProductionVariants": [
            {"VariantName": "shadow", "ModelName": "chest-0-shadow", **machine, "InitialVariantWeight": 0.5}
        ],
        "KmsKeyId": "alias/films",
        "DataCaptureConfig": {
            "InitialSamplingPercentage": 10,
            "DestinationS3Uri": "s3://films/thorax/chest/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
        "Tags": TAGS,
    }
    stand_in.call("CreateEndpointConfig", config)
    stand_in.call("CreateEndpoint", {"EndpointName": "chest", "EndpointConfigName": "chest-0", "Tags": TAGS})


def two_variants(stand_in: StandIn, endpoint: str = "chest") -> None:
    """An endpoint whose variants one and two get 90 and 10 of 100 requests."""
    machine = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    variants = []
    for name, weight in (("one", 90.0), ("two", 10.0)):
        model = f"{endpoint}-0-{name}"
        stand_in.call("CreateModel", {"ModelName": model, "PrimaryContainer": {}, "Tags": TAGS})
        variants.append({"VariantName": name, "ModelName": model, "InitialVariantWeight": weight, **machine})
    config = {"EndpointConfigName": f"{endpoint}-0", "ProductionVariants": variants, "Tags": TAGS}
    stand_in.call("CreateEndpointConfig", config)
    parameters = {"EndpointName": endpoint, "EndpointConfigName": f"{endpoint}-0", "Tags": TAGS}
    stand_in.call("CreateEndpoint", parameters)


def everything(stand_in: StandIn) -> None:
    """One of each kind of thing that is billed, and what is left over."""
    an_endpoint(stand_in)
    running_job(stand_in)
    running_job(stand_in, "pool")
    stand_in.things["TrainingJob", "pool"] |= {"state": "Completed", "WarmPoolStatus": {"Status": "Available"}}
    search_request = {"HyperParameterTuningJobName": "sweep", "HyperParameterTuningJobConfig": {}, "Tags": TAGS}
    stand_in.call("CreateHyperParameterTuningJob", search_request)
    running_job(stand_in, "sweep-001")
    stand_in.call("CreateModel", {"ModelName": "scores", "Tags": TAGS})
    transform = {"TransformJobName": "scores", "ModelName": "scores", "TransformResources": {}, "Tags": TAGS}
    stand_in.call("CreateTransformJob", transform)
    stand_in.call("CreateProcessingJob", {"ProcessingJobName": "check", "Tags": TAGS})
    stand_in.call("CreatePipeline", {"PipelineName": "chain", "Tags": TAGS})
    stand_in.call("StartPipelineExecution", {"PipelineName": "chain", "ClientRequestToken": "a"})
    stand_in.call("CreateModel", {"ModelName": "lost", "Tags": TAGS})
    dimension = {"Name": "EndpointName", "Value": "gone"}
    alarm = {"AlarmName": "thorax-gone-wake", "Namespace": "AWS/SageMaker", "MetricName": "HasBacklogWithoutCapacity"}
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
        for (kind, _), one in self.stand_in.things.items():
            if arn := one.get(f"{kind}Arn"):
                self.aws.tags[arn] = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
            if kind == "Target":
                self.aws.tags[target_arn(REGION, ACCOUNT, one["ResourceId"])] = one["Tags"]

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


def benches(aws: Any, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The account of a test; `folders`: word in a command line -> the folder that it stands for."""
    import botocore.handlers
    from sagemaker.core.utils.utils import SageMakerClient

    for key in (
        "new/smoke/answer.out",
        "chest/smoke/answer.out",
        "images/a.png",
        "other/b.png",
        "scores/scores/a.png.out",
    ):
        aws.client("s3").put_object(Bucket="films", Key=f"thorax/{key}", Body=b"[0.25]")
    report = b'{"report": {"parts": [], "findings": []}, "lines": ["packed"]}'
    for name in ("look", "packing"):  # what the machines of `prepare` leave
        aws.client("s3").put_object(Bucket="films", Key=f"thorax/{name}/units/result.json", Body=report)
    aws.calls.clear()
    for name in ("one", "two"):  # checked already: every run makes the same calls
        in_s3(f"s3://films/thorax/{name}/output/model.tar.gz", AwsSettings(region=REGION, bucket="films"))
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
    monkeypatch.setattr("thorax_launch.sagemaker.promotion.dated", lambda name: f"{name}-{next(numbers)}")
    monkeypatch.setattr("thorax_launch.sagemaker.promotion.commit", lambda: "")
    monkeypatch.setattr("thorax_launch.sagemaker.requests.commit", lambda: "")
    yield Bench(aws, stand_in, chaos, folders)
    SageMakerClient.reset()
