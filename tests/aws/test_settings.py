"""Where settings come from: flags over thorax.yaml over the SDK's config.yaml over the session."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aws_calls import assert_allowed
from iam_simulator import allowed
from thorax_launch.cli import batch, deploy, iam, pipeline, train, tune

ROLE = "arn:aws:iam::123456789012:role/"
SDK = """
SchemaVersion: '1.0'
SageMaker:
  PythonSDK: {Modules: {Session: {DefaultS3Bucket: of-sdk, DefaultS3ObjectKeyPrefix: prefix-of-sdk}}}
  TrainingJob:
    RoleArn: arn:aws:iam::123456789012:role/of-sdk
    VpcConfig: {Subnets: [subnet-1], SecurityGroupIds: [sg-1]}
    OutputDataConfig: {KmsKeyId: key-of-sdk}
    ResourceConfig: {VolumeKmsKeyId: disk-of-sdk}
    EnableInterContainerTrafficEncryption: true
    Tags: [{Key: from, Value: sdk}, {Key: sdk, Value: 'yes'}]
"""
ON = "arn:aws:sagemaker:eu-central-1:123456789012:"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sdk(offline: Path) -> None:
    Path(os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"]).write_text(SDK)


def explained(capsys: Capture, *words: str) -> dict[str, tuple[str, str]]:
    """Setting -> (value, where it comes from), as --explain-settings shows them."""
    assert train.main(["demo", "--explain-settings", *words]) == 0
    return {
        row[0]: (row[1], row[2]) for line in capsys.readouterr().out.splitlines() if (row := line.split(maxsplit=2))
    }


def test_each_setting_from_the_strongest_source(sdk: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    Path("thorax.yaml").write_text(
        "{bucket: of-file, kms_key: key-of-file, subnets: [subnet-2], tags: {from: file, file: 'yes'}}\n"
    )
    found = explained(capsys, "--kms-key", "key-of-flag", "--tag", "from=flag")
    assert found["kms_key"] == ("key-of-flag", "flags")
    assert found["bucket"] == ("of-file", "thorax.yaml")
    assert found["subnets"] == ("subnet-2", "thorax.yaml")
    assert found["security_groups"] == ("sg-1", "SDK config.yaml")
    assert found["role"] == (f"{ROLE}of-sdk", "SDK config.yaml")
    assert found["prefix"] == ("prefix-of-sdk", "SDK config.yaml")
    assert found["volume_kms_key"] == ("disk-of-sdk", "SDK config.yaml")
    assert found["encrypt_traffic"] == ("true", "SDK config.yaml")
    assert found["network_isolation"] == ("false", "default")
    assert found["region"] == ("eu-west-1", "AWS session")
    assert found["tags"] == ("from=flag,file=yes,sdk=yes", "flags, thorax.yaml, SDK config.yaml") or set(
        found["tags"][0].split(",")
    ) == {"from=flag", "file=yes", "sdk=yes"}


def test_a_no_on_the_command_line_wins(sdk: None, capsys: Capture) -> None:
    assert explained(capsys, "--no-encrypt-traffic", "--region", "eu-west-1")["encrypt_traffic"] == ("false", "flags")


def test_what_only_aws_knows_has_a_stand_in(offline: Path, capsys: Capture) -> None:
    found = explained(capsys, "--region", "eu-west-1")
    assert found["role"] == ("arn:aws:iam::000000000000:role/ROLE", "stand-in: AWS is not asked now")
    assert found["bucket"] == ("sagemaker-eu-west-1-000000000000", "stand-in: AWS is not asked now")
    assert (
        explained(capsys, "--region", "eu-west-1", "--role", f"{ROLE}x")["bucket"][0]
        == "sagemaker-eu-west-1-123456789012"
    )


def test_a_config_on_s3_is_not_read_in_a_dry_run(
    offline: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", "s3://bucket/config.yaml")
    assert explained(capsys, "--region", "eu-west-1")["prefix"] == ("thorax", "default")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("buckets: x", "thorax.yaml: unknown setting buckets; did you mean bucket?"),
        ("subnets: 3", "thorax.yaml: subnets=3 must be a list of texts"),
        ("network_isolation: maybe", "thorax.yaml: network_isolation='maybe' must be true or false"),
        ("tags: [a]", "thorax.yaml: tags=['a'] must be a mapping of texts"),
        ("- a", "--settings thorax.yaml must be a mapping"),
        ("a: [", "--settings thorax.yaml is not YAML"),
    ],
)
def test_wrong_files(text: str, message: str, offline: Path, capsys: Capture) -> None:
    Path("thorax.yaml").write_text(f"{text}\n")
    assert train.main(["demo", "--explain-settings", "--region", "eu-west-1"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_wrong_sdk_config_is_one_line(offline: Path, capsys: Capture) -> None:
    Path(os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"]).write_text("SageMaker: {TrainingJob: {RoleArn: 3}}\n")
    assert train.main(["demo", "--explain-settings", "--region", "eu-west-1"]) == 1
    assert (message := capsys.readouterr().err).startswith("error: SDK config.yaml: ")
    assert message.count("\n") == 1


def test_without_a_region(offline: Path, capsys: Capture) -> None:
    message = "error: no region: give --region, put region into thorax.yaml, or set AWS_DEFAULT_REGION"
    assert train.main(["demo", "--train", "s3://a/b"]) == 1
    assert capsys.readouterr().err.startswith(f"{message}; or add --local")
    assert iam.main(["launcher"]) == 1  # a policy is for one region, and made by a command without --local
    assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (train, ["demo", "--train", "s3://a/b"]),
        (tune, ["pneumonia-resnet18", "--train", "s3://a/b"]),
        (pipeline, ["demo", "--train", "s3://a/b", "--test", "s3://a/c", "--group", "chest"]),
        (deploy, ["s3://a/model.tar.gz", "--endpoint-name", "chest"]),
        (batch, ["s3://a/model.tar.gz", "--data", "s3://a/b", "--out", "t.csv"]),
    ],
)
def test_a_dry_run_without_a_region_has_a_stand_in(
    script: Any, words: list[str], offline: Path, capsys: Capture
) -> None:
    assert script.main([*words, "--dry-run"]) == 0
    assert "note: no region is set; us-east-1 stands for it: give --region\n" in capsys.readouterr().err
    assert explained(capsys)["region"] == ("us-east-1", "stand-in: AWS is not asked now")


# -- Policies ----------------------------------------------------------------------------------------------------------


def policy(capsys: Capture, *words: str) -> dict[str, Any]:
    assert iam.main([*words, "--region", "eu-central-1", "--bucket", "films", "--role", f"{ROLE}x"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["Version"] == "2012-10-17"
    return document


@pytest.mark.parametrize("kind", ["launcher", "execution"])
def test_policies_name_the_bucket_the_keys_and_the_role(kind: str, offline: Path, capsys: Capture) -> None:
    document = policy(
        capsys,
        kind,
        "--prefix",
        "chest",
        "--kms-key",
        "alias/films",
        "--volume-kms-key",
        "arn:aws:kms:eu-central-1:123456789012:key/7",
    )
    statements = document["Statement"]
    assert len({one["Sid"] for one in statements}) == len(statements)
    assert len(json.dumps(document, separators=(",", ":"))) < 6144  # AWS's limit for a managed policy
    on_s3 = {resource for one in statements for resource in one["Resource"] if ":s3:" in resource}
    assert on_s3 == {"arn:aws:s3:::films", "arn:aws:s3:::films/chest/*"}
    keys = {one["Sid"]: (one["Resource"], one.get("Condition")) for one in statements if "Key" in one["Sid"]}
    alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/films"]}}
    grant = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    named, any_key = ["arn:aws:kms:eu-central-1:123456789012:key/7"], ["arn:aws:kms:eu-central-1:123456789012:key/*"]
    assert keys == {
        "UseTheKeys": (named, None),
        "UseTheKeysOfMachines": (named, grant),
        "UseKeysByAlias": (any_key, alias),
        "UseKeysByAliasOfMachines": (any_key, alias | grant),
    }
    assert not any("*" in action for one in statements for action in one["Action"])


def test_the_role_is_given_to_sagemaker_alone(offline: Path, capsys: Capture) -> None:
    (passing,) = [one for one in policy(capsys, "launcher")["Statement"] if "iam:PassRole" in one["Action"]]
    assert passing["Resource"] == [f"{ROLE}x"]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    (trusted,) = policy(capsys, "trust")["Statement"]
    assert trusted["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert trusted["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:sagemaker:eu-central-1:123456789012:*"},
    }


def test_the_launcher_may_do_what_autoscaling_asks_of_it(offline: Path, capsys: Capture) -> None:
    rights = {
        action
        for one in policy(capsys, "launcher")["Statement"]
        for action in one["Action"]
        if any(on.endswith((":endpoint/*", ":123456789012:*")) for on in one["Resource"])
    }
    assert {
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
    } <= rights


@pytest.mark.parametrize(
    ("action", "resource", "context", "expected"),
    [
        ("s3:ListBucket", "arn:aws:s3:::films", {"s3:prefix": "thorax/data/"}, True),
        ("s3:ListBucket", "arn:aws:s3:::films", {"s3:prefix": "thorax-private/"}, False),
        ("s3:ListBucket", "arn:aws:s3:::films", {}, False),
        ("s3:GetObject", "arn:aws:s3:::films/thorax-private/a.png", {}, False),
        ("s3:GetObject", "arn:aws:s3:::public/nih/a.png", {}, True),
        ("s3:GetObject", "arn:aws:s3:::public/nih-private/a.png", {}, False),
        ("s3:ListBucket", "arn:aws:s3:::public", {"s3:prefix": "nih/"}, True),
        ("s3:ListBucket", "arn:aws:s3:::public", {"s3:prefix": "nih-private/"}, False),
        ("iam:PassRole", f"{ROLE}x", {"iam:PassedToService": "sagemaker.amazonaws.com"}, True),
        ("iam:PassRole", f"{ROLE}x", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:PassRole", f"{ROLE}y", {"iam:PassedToService": "sagemaker.amazonaws.com"}, False),
        ("sagemaker:DeleteEndpoint", f"{ON}endpoint/chest", {"aws:ResourceTag/thorax:made-by": "thorax"}, True),
        ("sagemaker:DeleteEndpoint", f"{ON}endpoint/chest", {"aws:ResourceTag/project": "thorax"}, False),
        ("sagemaker:DeleteEndpoint", f"{ON}endpoint/chest", {}, False),
        ("sagemaker:StopTrainingJob", f"{ON}training-job/one", {}, False),
        ("sagemaker:AddTags", f"{ON}endpoint/other", {"sagemaker:TaggingAction": "CreateEndpoint"}, True),
        ("sagemaker:AddTags", f"{ON}endpoint/other", {}, False),
        ("cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:thorax-chest-wake", {}, True),
        ("cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:billing", {}, False),
        ("sagemaker:CreateNotebookInstance", f"{ON}notebook-instance/x", {}, False),
    ],
)
def test_what_the_launcher_may(
    action: str, resource: str, context: Any, expected: bool, offline: Path, capsys: Capture
) -> None:
    document = policy(capsys, "launcher", "--read", "s3://public/nih")
    assert allowed(document, action, resource, context) == expected


def test_images_elsewhere_may_be_read_only(offline: Path, capsys: Capture) -> None:
    document = policy(capsys, "execution", "--read", "s3://public/nih/")
    rights = {
        action
        for one in document["Statement"]
        for action in one["Action"]
        if any("public" in resource for resource in one["Resource"])
    }
    assert rights == {"s3:ListBucket", "s3:GetObject"}


@pytest.mark.parametrize(
    "call",
    [
        ("sagemaker", "DeleteEndpoint", {"EndpointName": "of-somebody-else"}),
        ("s3", "PutObject", {"Bucket": "films", "Key": "thorax-private/a.png"}),
        ("s3", "ListObjectsV2", {"Bucket": "films", "Prefix": "train-private/"}),
        ("sagemaker", "CreateModel", {"ModelName": "m", "ExecutionRoleArn": f"{ROLE}administrator"}),
        ("iam", "CreateUser", {"UserName": "x"}),
    ],
)
def test_a_call_outside_the_policy_fails_the_tests(call: Any, offline: Path) -> None:
    with pytest.raises(AssertionError, match="is not in the launcher's policy"):
        assert_allowed([call])
