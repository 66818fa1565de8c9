"""The role that jobs and endpoints run as: the printed policy allows what SageMaker does with it, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from execution_calls import questions
from iam_simulator import allowed
from thorax_launch.cli import batch, deploy, iam, pipeline, prepare, train, tune

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE]
SECURE = ["--subnets", "subnet-1", "--security-groups", "sg-1", "--kms-key", "alias/films"]
DATA = ["--train", "s3://public/nih/train", "--test", "s3://films/thorax/test"]
TOPIC = "arn:aws:sns:eu-central-1:123456789012:answers"
BUNDLE = "s3://films/thorax/one/output/model.tar.gz"
ENDPOINT = [BUNDLE, "--endpoint-name", "chest", "--async", "--capture", "10", "--success-topic", TOPIC]
Capture = pytest.CaptureFixture[str]

COMMANDS = {
    "train": (train, ["demo", *DATA, "--spot"]),
    "train on a GPU machine": (train, ["demo", *DATA, "--instance-type", "ml.g5.xlarge"]),
    "tune": (tune, ["pneumonia-resnet18", *DATA]),
    "batch": (batch, [BUNDLE, "--data", "s3://public/nih/test", "--out", "t.csv", "--job-name", "scores"]),
    "deploy": (deploy, ENDPOINT),
    "pipeline": (pipeline, ["pneumonia-resnet18", *DATA, "--group", "chest"]),
    "prepare": (prepare, ["check", "s3://public/nih", "--instances", "4"]),
}


def printed(capsys: Capture, module: Any, *words: str) -> Any:
    capsys.readouterr()
    assert module.main([*words, *PLACE]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def policy(capsys: Capture, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = printed(capsys, iam, "execution", "--read", "s3://public/nih", *SECURE, *words)
    return document


def requests(found: Any) -> Iterator[dict[str, Any]]:
    """Each request of a dry run: one, several by name, or those of a pipeline's steps."""
    if "Steps" in found:
        defaults = {f"Parameters.{one['Name']}": one["DefaultValue"] for one in found["Parameters"]}
        for step in found["Steps"]:
            yield _with_values(step["Arguments"], defaults)
    elif any(key.startswith("Create") for key in found):
        yield from (one for key, one in found.items() if key.startswith("Create"))
    else:
        yield found


def _with_values(value: Any, known: dict[str, Any]) -> Any:
    """Without references: parameters have their defaults, what a step made lies below the pipeline's folder."""
    if isinstance(value, list):
        return [_with_values(one, known) for one in value]
    if not isinstance(value, dict):
        return value
    if "Get" in value:
        return known.get(value["Get"], BUNDLE if "ModelArtifacts" in value["Get"] else "value")
    if "Std:Join" in value:
        parts = value["Std:Join"]["Values"]
        return "/".join(part if isinstance(part, str) else "run" for part in parts)
    return {key: _with_values(one, known) for key, one in value.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_all_that_a_job_needs_is_allowed(name: str, offline: Path, capsys: Capture) -> None:
    module, words = COMMANDS[name]
    document = policy(capsys, "--topic", TOPIC)
    asked = [
        question
        for request in requests(printed(capsys, module, *words, *SECURE, "--dry-run"))
        for question in questions(request)
    ]
    assert {action.split(":")[0] for action, _, _ in asked} >= {"s3", "kms", "cloudwatch"}
    for action, resource, context in asked:
        assert allowed(document, action, resource, context), f"{action} on {resource} with {context}"
    if name == "deploy":
        assert "sns:Publish" in {action for action, _, _ in asked}


def test_what_the_machines_of_prepare_do_themselves_is_allowed(offline: Path, capsys: Capture) -> None:
    """thorax.dataset.cluster reads images by GetObject, and lists, reads and writes below the job's own address."""
    document, films = policy(capsys), "arn:aws:s3:::films"
    for action, resource, context in (
        ("s3:GetObject", "arn:aws:s3:::public/nih/00000001_000.png", {}),
        ("s3:ListBucket", films, {"s3:prefix": "thorax/look/units/check/"}),
        ("s3:GetObject", f"{films}/thorax/look/units/check/unit-000000.npz", {}),
        ("s3:PutObject", f"{films}/thorax/look/units/result.json", {}),
        ("s3:PutObject", f"{films}/thorax/packed/shard-000000.tar", {}),
        (
            "kms:GenerateDataKey",
            "arn:aws:kms:eu-central-1:123456789012:key/1",
            {"kms:ResourceAliases": ["alias/films"]},
        ),
    ):
        assert allowed(document, action, resource, context), (action, resource)


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("s3:GetObject", "arn:aws:s3:::films/thorax-private/a.png", {}),
        ("s3:ListBucket", "arn:aws:s3:::films", {"s3:prefix": "thorax-private/"}),
        ("s3:ListBucket", "arn:aws:s3:::films", {}),
        ("s3:GetObject", "arn:aws:s3:::public/nih-private/a.png", {}),
        ("s3:PutObject", "arn:aws:s3:::public/nih/a.png", {}),
        ("s3:DeleteObject", "arn:aws:s3:::public/nih/a.png", {}),
        ("sns:Publish", "arn:aws:sns:eu-central-1:123456789012:others", {}),
        ("kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/1", {"kms:ResourceAliases": ["alias/other"]}),
        ("iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
        ("iam:PassRole", f"{ROLE}-admin", {"iam:PassedToService": "sagemaker.amazonaws.com"}),
        ("sagemaker:DeleteEndpoint", "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/chest", {}),
        ("logs:PutLogEvents", "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/x:log-stream:y", {}),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x", {}),
    ],
)
def test_no_more_is_allowed(action: str, resource: str, context: Any, offline: Path, capsys: Capture) -> None:
    assert not allowed(policy(capsys, "--topic", TOPIC), action, resource, context)


def test_a_topic_is_an_arn_and_of_the_role(offline: Path, capsys: Capture) -> None:
    assert iam.main(["execution", "--topic", "answers", *PLACE]) == 1
    assert "--topic answers must be the ARN of an SNS topic" in capsys.readouterr().err
    assert iam.main(["launcher", "--topic", TOPIC, *PLACE]) == 1
    assert "--topic is for the policy execution" in capsys.readouterr().err
