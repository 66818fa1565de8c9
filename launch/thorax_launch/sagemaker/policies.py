"""Least privilege: what the person who launches and the role that jobs run as may do, for one bucket and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.settings import AwsSettings

#: AWS's accounts with the PyTorch and Ray images, and with Debugger's rules: any, as they differ by region.
_IMAGES = "arn:{partition}:ecr:{region}:*:repository/*"
_LOGS = "arn:{partition}:logs:{region}:{account}:log-group:/aws/sagemaker/*"


def launcher(settings: AwsSettings) -> dict[str, Any]:
    """The policy of a person or a CI job that runs the scripts of launch/."""
    arn = _arns(settings)
    resources = [
        "training-job",
        "hyper-parameter-tuning-job",
        "transform-job",
        "model",
        "endpoint",
        "endpoint-config",
        "model-package",
        "model-package-group",
        "pipeline",
    ]
    named = [f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:{kind}/*" for kind in resources]
    statements = [
        _allow("WhoAmI", ["sts:GetCallerIdentity"], ["*"]),
        _allow("ReadTheRole", ["iam:GetRole"], [settings.role]),
        _allow(
            "GiveTheRoleToSageMaker",
            ["iam:PassRole"],
            [settings.role],
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
        _allow("SeeTheBucket", ["s3:ListBucket", "s3:GetBucketLocation"], [arn["bucket"]]),
        _allow(
            "CodeImagesAndResults",
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"],
            [arn["objects"]],
        ),
        _allow(
            "Jobs",
            [
                "sagemaker:AddTags",
                "sagemaker:ListTags",
                "sagemaker:CreateTrainingJob",
                "sagemaker:DescribeTrainingJob",
                "sagemaker:StopTrainingJob",
                "sagemaker:CreateHyperParameterTuningJob",
                "sagemaker:DescribeHyperParameterTuningJob",
                "sagemaker:StopHyperParameterTuningJob",
                "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
                "sagemaker:CreateTransformJob",
                "sagemaker:DescribeTransformJob",
                "sagemaker:StopTransformJob",
            ],
            named,
        ),
        _allow(
            "Hosting",
            [
                "sagemaker:CreateModel",
                "sagemaker:DescribeModel",
                "sagemaker:DeleteModel",
                "sagemaker:CreateEndpointConfig",
                "sagemaker:DescribeEndpointConfig",
                "sagemaker:DeleteEndpointConfig",
                "sagemaker:CreateEndpoint",
                "sagemaker:DescribeEndpoint",
                "sagemaker:UpdateEndpoint",
                "sagemaker:DeleteEndpoint",
                "sagemaker:UpdateEndpointWeightsAndCapacities",  # Application Auto Scaling asks it of whoever registers a target
                "sagemaker:InvokeEndpoint",
                "sagemaker:InvokeEndpointAsync",
                "sagemaker:CreateModelPackageGroup",
                "sagemaker:CreateModelPackage",
                "sagemaker:DescribeModelPackage",
                "sagemaker:DescribeModelPackageGroup",
                "sagemaker:CreatePipeline",
                "sagemaker:UpdatePipeline",
                "sagemaker:DescribePipeline",
                "sagemaker:StartPipelineExecution",
            ],
            named,
        ),
        _allow(
            "FindWhatRuns",
            [
                "sagemaker:ListEndpoints",
                "sagemaker:ListTrainingJobs",
                "sagemaker:ListHyperParameterTuningJobs",
                "sagemaker:ListModels",
                "sagemaker:ListModelPackages",
                "application-autoscaling:RegisterScalableTarget",
                "application-autoscaling:DeregisterScalableTarget",
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:PutScalingPolicy",
                "application-autoscaling:DeleteScalingPolicy",
            ],
            ["*"],
        ),  # AWS knows no narrower resource for these
        _allow(
            "ScaleEndpoints",
            ["cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"],
            ["*"],
        ),
        _allow(
            "LetAutoscalingWork",
            ["iam:CreateServiceLinkedRole"],
            [
                f"arn:{arn['partition']}:iam::{arn['account']}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/*"
            ],
            {"StringEquals": {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}},
        ),
        _allow(
            "ReadLogs",
            ["logs:DescribeLogStreams", "logs:GetLogEvents"],
            [_LOGS.format(**arn), _LOGS.format(**arn) + ":log-stream:*"],
        ),
    ]
    return _document(
        [
            *statements,
            *_keys(settings),
            *(
                [
                    _allow(
                        "SeeTheNetwork",
                        ["ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups"],
                        ["*"],
                    )
                ]
                if settings.subnets
                else []
            ),
        ]
    )


def execution(settings: AwsSettings, read: Sequence[str] = ()) -> dict[str, Any]:
    """The policy of the role that jobs and endpoints run as.

    Args:
        read: s3:// addresses of images that lie elsewhere.

    Raises:
        ThoraxError: one of them is no address.
    """
    arn = _arns(settings)
    statements = [
        _allow("SeeTheBucket", ["s3:ListBucket", "s3:GetBucketLocation"], [arn["bucket"]]),
        _allow(
            "ImagesAndResults",
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"],
            [arn["objects"]],
        ),
        _allow(
            "WriteLogs",
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
            [_LOGS.format(**arn), _LOGS.format(**arn) + ":log-stream:*"],
        ),
        _allow(
            "WriteMetrics",
            ["cloudwatch:PutMetricData"],
            ["*"],
            {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "SageMaker*"]}},
        ),
        _allow("LogIntoImages", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow(
            "PullImages",
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            [_IMAGES.format(**arn)],
        ),
    ]
    kinds = ["training-job", "processing-job", "model-package", "model-package-group"]
    named = [f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:{kind}/*" for kind in kinds]
    statements.append(
        _allow(
            "RunPipelineSteps",
            [
                "sagemaker:AddTags",
                "sagemaker:CreateTrainingJob",
                "sagemaker:DescribeTrainingJob",
                "sagemaker:StopTrainingJob",
                "sagemaker:CreateProcessingJob",
                "sagemaker:DescribeProcessingJob",
                "sagemaker:StopProcessingJob",
                "sagemaker:CreateModelPackage",
                "sagemaker:CreateModelPackageGroup",
                "sagemaker:DescribeModelPackageGroup",
            ],
            named,
        )
    )
    statements.append(
        _allow(
            "GiveItselfToSteps",
            ["iam:PassRole"],
            [settings.role],
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        )
    )
    if settings.subnets:
        statements.append(
            _allow(
                "JoinTheNetwork",
                [
                    "ec2:CreateNetworkInterface",
                    "ec2:CreateNetworkInterfacePermission",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DeleteNetworkInterfacePermission",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeVpcs",
                    "ec2:DescribeDhcpOptions",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeSecurityGroups",
                ],
                ["*"],
            )
        )
    return _document([*statements, *_elsewhere(read, arn["partition"]), *_keys(settings)])


def _elsewhere(addresses: Sequence[str], partition: str) -> list[dict[str, Any]]:
    """Reading, and nothing else, of images in other places."""
    found = []
    for i, address in enumerate(addresses, 1):
        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not address.startswith("s3://") or not bucket:
            raise ThoraxError(f"--read {address} must be s3://BUCKET/PREFIX")
        arn = f"arn:{partition}:s3:::{bucket}"
        found.append(_allow(f"SeeImages{i}", ["s3:ListBucket"], [arn]))
        found.append(_allow(f"ReadImages{i}", ["s3:GetObject"], [f"{arn}/{prefix.rstrip('*')}*"]))
    return found


def trust() -> dict[str, Any]:
    """Who may take the role: SageMaker alone."""
    return _document(
        [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    )


def _arns(settings: AwsSettings) -> dict[str, str]:
    partition, account = settings.role.split(":")[1], settings.role.split(":")[4]
    bucket = f"arn:{partition}:s3:::{settings.bucket}"
    return {
        "partition": partition,
        "account": account,
        "region": settings.region,
        "bucket": bucket,
        "objects": "/".join(part for part in (bucket, settings.prefix.strip("/"), "*") if part),
    }


def _keys(settings: AwsSettings) -> list[dict[str, Any]]:
    """For keys given by ARN their own; a key's bare id or alias is completed with the account and region."""
    keys = sorted({key for key in (settings.kms_key, settings.volume_kms_key) if key})
    arn = _arns(settings)
    full = [
        (
            key
            if key.startswith("arn:")
            else (
                f"arn:{arn['partition']}:kms:{arn['region']}:{arn['account']}:{key if key.startswith('alias/') else f'key/{key}'}"
            )
        )
        for key in keys
    ]
    actions = [
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:CreateGrant",
    ]
    return [_allow("UseTheKeys", actions, full)] if full else []


def _allow(
    sid: str, actions: list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": resources,
        **({"Condition": condition} if condition else {}),
    }


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
