"""Keys, network and isolation reach every field of every request that AWS's own model has for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from thorax_launch.cli import batch, deploy, pipeline, prepare, train, tune

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE, "--dry-run"]
KEY = "alias/films"
SECURE = ["--kms-key", KEY, "--subnets", "subnet-1", "--security-groups", "sg-1", "--encrypt-traffic"]
DATA = ["--train", "s3://films/train", "--test", "s3://films/test"]
ISOLATED = ["--network-isolation", "--training-image", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/a:1"]
#: Machines with local storage take no key.
CPU = ["--instance-type", "ml.m5.xlarge"]
Capture = pytest.CaptureFixture[str]

COMMANDS: dict[str, tuple[Any, list[str]]] = {
    "train": (train, ["demo", *DATA, *ISOLATED, "--debugger", "--profiler"]),
    "tune": (tune, ["pneumonia-resnet18", *DATA, *ISOLATED, *CPU]),
    "deploy": (deploy, ["BUNDLE", "--endpoint-name", "chest", "--capture", "10", "--network-isolation"]),
    "deploy async": (deploy, ["BUNDLE", "--endpoint-name", "chest", "--async", "--register", "chest"]),
    "deploy shadow": (deploy, ["BUNDLE", "--endpoint-name", "chest", "--shadow", "BUNDLE:10"]),
    "deploy variants": (deploy, ["--variant", "a=BUNDLE", "--variant", "b=BUNDLE", "--endpoint-name", "chest"]),
    "batch": (batch, ["BUNDLE", "--data", "s3://films/test", "--out", "t.csv"]),
    "pipeline": (pipeline, ["pneumonia-resnet18", *DATA, "--group", "chest", *CPU]),
    "prepare": (prepare, ["check", "s3://films/nih", "--instances", "2"]),
}
#: Fields of a request that are not for what our commands do.
WITHOUT = {
    "CreateModelPackage.SecurityConfig": "of the model card's own copy of data, which we give none",
    "CreateModelPackage.ModelCard.SecurityConfig": "the same",
    "CreateEndpointConfig.VpcConfig": "of inference components; the network of a bundle is its model's",
}


def open_fields(shape: Any, value: Any, at: str) -> Iterator[str]:
    """Paths of fields for a key, a network or isolation that a request leaves out, by AWS's model of it."""
    if shape.type_name == "list":
        for one in value:
            yield from open_fields(shape.member, one, at)
    elif shape.type_name == "map":
        return
    elif shape.type_name == "structure":
        for name, member in shape.members.items():
            path = f"{at}.{name}"
            if name in value:
                if not (isinstance(value[name], dict) and {"Get", "Std:Join"} & set(value[name])):
                    yield from open_fields(member, value[name], path)
            elif path not in WITHOUT and re.search(r"Kms(Encryption)?Key(Id|Arn)?$|^VpcConfig$", name):
                yield path


def requests(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(operation, parameters) of a dry run's JSON."""
    if "Steps" in found:
        kinds = {"Training": "CreateTrainingJob", "Processing": "CreateProcessingJob"}
        yield from ((kinds[step["Type"]], step["Arguments"]) for step in found["Steps"] if step["Type"] in kinds)
        return
    own = {
        "TrainingJobName": "CreateTrainingJob",
        "HyperParameterTuningJobName": "CreateHyperParameterTuningJob",
        "ProcessingJobName": "CreateProcessingJob",
    }
    for key, operation in own.items():
        if key in found:
            yield operation, found
    for operation, several in found.items():
        if operation in ("CreateModel", "CreateEndpointConfig", "CreateTransformJob", "CreateModelPackage"):
            yield from ((operation, one) for one in (several if isinstance(several, list) else [several]))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_field_for_a_key_or_a_network_is_left_open(name: str, offline: Path, light: Path, capsys: Capture) -> None:
    module, words = COMMANDS[name]
    assert module.main([*(word.replace("BUNDLE", str(light)) for word in words), *SECURE, *PLACE]) == 0
    shown = capsys.readouterr().out
    sent = list(requests(json.loads(shown[shown.index("{") :])))
    assert sent
    model = botocore.session.get_session().get_service_model("sagemaker")
    for operation, parameters in sent:
        left = list(open_fields(model.operation_model(operation).input_shape, parameters, operation))
        assert left == []
        if "--network-isolation" in words and operation != "CreateEndpointConfig":
            assert '"EnableNetworkIsolation": true' in json.dumps(parameters)
        if operation in ("CreateTrainingJob", "CreateHyperParameterTuningJob", "CreateProcessingJob"):
            assert '"EnableInterContainerTrafficEncryption": true' in json.dumps(parameters)


def test_the_walk_finds_what_is_open() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTransformJob")
    request = {"TransformOutput": {"S3OutputPath": "s3://a"}, "TransformResources": {"VolumeKmsKeyId": KEY}}
    assert list(open_fields(model.input_shape, request, "Request")) == ["Request.TransformOutput.KmsKeyId"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (deploy, ["BUNDLE", "--endpoint-name", "chest"]),
        (batch, ["BUNDLE", "--data", "s3://films/test", "--out", "t.csv"]),
    ],
)
def test_a_secret_of_a_container_is_masked_and_warned_of(
    command: Any, words: list[str], offline: Path, light: Path, capsys: Capture
) -> None:
    given = [word.replace("BUNDLE", str(light)) for word in words]
    assert command.main([*given, "--env", f"THORAX_BUNDLE_KEY={'k' * 40}", *PLACE]) == 0
    shown = capsys.readouterr()
    assert "k" * 40 not in shown.out + shown.err and '"THORAX_BUNDLE_KEY": "***"' in shown.out
    assert "THORAX_BUNDLE_KEY is readable by all who may describe the model" in shown.out + shown.err
