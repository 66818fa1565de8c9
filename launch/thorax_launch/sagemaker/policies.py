"""Least rights of the person who launches and of the role that jobs run as, for one bucket and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.settings import AwsSettings

#: AWS's accounts with the PyTorch and Ray images, and with Debugger's rules: any, as they differ by region.
_IMAGES = "arn:{partition}:ecr:{region}:*:repository/*"
_LOGS = "arn:{partition}:logs:{region}:{account}:log-group:/aws/sagemaker/*"


def launcher(settings: AwsSettings) -> dict[str, Any]:
    """The policy of a person or a CI job that runs the commands."""
    arn = _arns(settings)
    kinds = (
        "training-job hyper-parameter-tuning-job transform-job model endpoint endpoint-config model-package"
        " model-package-group pipeline processing-job"
    )
    named = _named(arn, kinds)
    # UpdateEndpointWeightsAndCapacities: Application Auto Scaling asks it of whoever registers a target
    hosting = (
        "CreateModel DescribeModel DeleteModel CreateEndpointConfig DescribeEndpointConfig DeleteEndpointConfig"
        " CreateEndpoint DescribeEndpoint UpdateEndpoint DeleteEndpoint UpdateEndpointWeightsAndCapacities"
        " InvokeEndpoint InvokeEndpointAsync CreateModelPackageGroup CreateModelPackage DescribeModelPackage"
        " DescribeModelPackageGroup CreatePipeline UpdatePipeline DescribePipeline StartPipelineExecution"
        " ListPipelineExecutions DescribePipelineExecution StopPipelineExecution"
    )
    jobs = (
        "AddTags ListTags CreateTrainingJob DescribeTrainingJob StopTrainingJob CreateHyperParameterTuningJob"
        " DescribeHyperParameterTuningJob StopHyperParameterTuningJob ListTrainingJobsForHyperParameterTuningJob"
        " CreateTransformJob DescribeTransformJob StopTransformJob UpdateTrainingJob DescribeProcessingJob"
        " StopProcessingJob"
    )
    # AWS knows no narrower resource for these
    lists = _rights("sagemaker", "ListEndpoints ListTrainingJobs ListHyperParameterTuningJobs ListModels")
    lists += _rights("sagemaker", "ListModelPackages ListEndpointConfigs ListTransformJobs ListProcessingJobs")
    lists += _rights("sagemaker", "ListPipelines")
    scaling = (
        "RegisterScalableTarget DeregisterScalableTarget DescribeScalableTargets PutScalingPolicy DeleteScalingPolicy"
    )
    service = "sagemaker.application-autoscaling.amazonaws.com"
    linked_role = f"arn:{arn['partition']}:iam::{arn['account']}:role/aws-service-role/{service}/*"
    network = _rights("ec2", "DescribeVpcs DescribeSubnets DescribeSecurityGroups")
    return _document(
        [
            _allow("WhoAmI", ["sts:GetCallerIdentity"], ["*"]),
            _allow("ReadTheRole", ["iam:GetRole"], [settings.role]),
            _pass_role("GiveTheRoleToSageMaker", settings),
            *_bucket_rights("CodeImagesAndResults", arn),
            _allow("Jobs", _rights("sagemaker", jobs), named),
            _allow("Hosting", _rights("sagemaker", hosting), named),
            _allow("FindWhatRuns", [*lists, *_rights("application-autoscaling", scaling)], ["*"]),
            _allow("ScaleEndpoints", _rights("cloudwatch", "PutMetricAlarm DescribeAlarms DeleteAlarms"), ["*"]),
            _allow(
                "LetAutoscalingWork",
                ["iam:CreateServiceLinkedRole"],
                [linked_role],
                {"StringEquals": {"iam:AWSServiceName": service}},
            ),
            _allow("ReadLogs", _rights("logs", "DescribeLogStreams GetLogEvents"), _logs(arn)),
            *_keys(settings),
            *([_allow("SeeTheNetwork", network, ["*"])] if settings.subnets else []),
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
    steps = (
        "AddTags CreateTrainingJob DescribeTrainingJob StopTrainingJob CreateProcessingJob DescribeProcessingJob"
        " StopProcessingJob CreateModelPackage CreateModelPackageGroup DescribeModelPackageGroup"
    )
    network = (
        "CreateNetworkInterface CreateNetworkInterfacePermission DeleteNetworkInterface"
        " DeleteNetworkInterfacePermission DescribeNetworkInterfaces DescribeVpcs DescribeDhcpOptions DescribeSubnets"
        " DescribeSecurityGroups"
    )
    logs = "CreateLogGroup CreateLogStream PutLogEvents DescribeLogStreams"
    pull = "BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer"
    spaces = {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "SageMaker*"]}}
    named = _named(arn, "training-job processing-job model-package model-package-group")
    return _document(
        [
            *_bucket_rights("ImagesAndResults", arn),
            _allow("WriteLogs", _rights("logs", logs), _logs(arn)),
            _allow("WriteMetrics", ["cloudwatch:PutMetricData"], ["*"], spaces),
            _allow("LogIntoImages", ["ecr:GetAuthorizationToken"], ["*"]),
            _allow("PullImages", _rights("ecr", pull), [_IMAGES.format(**arn)]),
            _allow("RunPipelineSteps", _rights("sagemaker", steps), named),
            _pass_role("GiveItselfToSteps", settings),
            *([_allow("JoinTheNetwork", _rights("ec2", network), ["*"])] if settings.subnets else []),
            *_elsewhere(read, arn["partition"]),
            *_keys(settings),
        ]
    )


def _rights(service: str, calls: str) -> list[str]:
    """Calls of a service, by names with blanks between."""
    return [f"{service}:{call}" for call in calls.split()]


def _named(arn: dict[str, str], kinds: str) -> list[str]:
    """Everything in the account of these kinds, by names with blanks between."""
    return [f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:{kind}/*" for kind in kinds.split()]


def _bucket_rights(sid: str, arn: dict[str, str]) -> list[dict[str, Any]]:
    rights = _rights("s3", "GetObject PutObject AbortMultipartUpload DeleteObject")
    return [
        _allow("SeeTheBucket", _rights("s3", "ListBucket GetBucketLocation"), [arn["bucket"]]),
        _allow(sid, rights, [arn["objects"]]),
    ]


def _pass_role(sid: str, settings: AwsSettings) -> dict[str, Any]:
    condition = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    return _allow(sid, ["iam:PassRole"], [settings.role], condition)


def _logs(arn: dict[str, str]) -> list[str]:
    group = _LOGS.format(**arn)
    return [group, f"{group}:log-stream:*"]


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
    here = f"arn:{arn['partition']}:kms:{arn['region']}:{arn['account']}"
    full = [
        key if key.startswith("arn:") else f"{here}:{key}" if key.startswith("alias/") else f"{here}:key/{key}"
        for key in keys
    ]
    rights = _rights("kms", "Decrypt DescribeKey Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext CreateGrant")
    return [_allow("UseTheKeys", rights, full)] if full else []


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
