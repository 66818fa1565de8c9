"""Least rights of the person who launches and of the role that jobs run as, for one bucket and its keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from thorax.errors import ThoraxError
from thorax.secrets import service_of
from thorax_launch.sagemaker.requests import MARK
from thorax_launch.settings import AwsSettings

#: AWS's accounts with the PyTorch and Ray images, and with Debugger's rules: any, as they differ by region.
_IMAGES = "arn:{partition}:ecr:{region}:*:repository/*"
_LOGS = "arn:{partition}:logs:{region}:{account}:log-group:/aws/sagemaker/*"


#: The tag of everything that these commands make; what has it may be deleted, stopped and changed.
_OWN_TAG = (MARK, "thorax")
#: IAM's key for the call that sets a tag.
_TAGGING = "sagemaker:TaggingAction"


def launcher(settings: AwsSettings, read: Sequence[str] = ()) -> dict[str, Any]:
    """The policy of a person or a CI job that runs the commands.

    Args:
        read: s3:// addresses of images that lie elsewhere, which batch transforms list and `prepare` may read.

    Raises:
        ThoraxError: one of them is no address.
    """
    arn = _arns(settings)
    kinds = (
        "training-job hyper-parameter-tuning-job transform-job model endpoint endpoint-config model-package"
        " model-package-group pipeline processing-job"
    )
    named = _named(arn, kinds)
    # UpdateEndpointWeightsAndCapacities: Application Auto Scaling asks it of whoever registers a target
    hosting = (
        "CreateModel DescribeModel CreateEndpointConfig DescribeEndpointConfig CreateEndpoint DescribeEndpoint"
        " InvokeEndpoint InvokeEndpointAsync CreateModelPackageGroup CreateModelPackage DescribeModelPackage"
        " DescribeModelPackageGroup UpdateModelPackage CreatePipeline DescribePipeline ListPipelineExecutions"
        " DescribePipelineExecution StopPipelineExecution ListPipelineExecutionSteps"
    )
    own = (
        "DeleteModel DeleteEndpointConfig UpdateEndpoint DeleteEndpoint UpdateEndpointWeightsAndCapacities"
        " UpdatePipeline StartPipelineExecution StopTrainingJob StopHyperParameterTuningJob StopTransformJob"
        " StopProcessingJob UpdateTrainingJob"
    )
    anything = f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:*"  # of the calls' own kinds
    tag = {"StringEquals": {f"aws:ResourceTag/{_OWN_TAG[0]}": _OWN_TAG[1]}}
    jobs = (
        "ListTags CreateTrainingJob DescribeTrainingJob CreateHyperParameterTuningJob"
        " DescribeHyperParameterTuningJob ListTrainingJobsForHyperParameterTuningJob CreateTransformJob"
        " DescribeTransformJob CreateProcessingJob DescribeProcessingJob"
    )
    # AWS knows no narrower resource for these
    lists = _rights("sagemaker", "ListEndpoints ListTrainingJobs ListHyperParameterTuningJobs ListModels")
    lists += _rights("sagemaker", "ListModelPackages ListEndpointConfigs ListTransformJobs ListProcessingJobs")
    lists += _rights("sagemaker", "ListPipelines")
    scaling = (
        "RegisterScalableTarget DeregisterScalableTarget DescribeScalableTargets PutScalingPolicy DeleteScalingPolicy"
        " DescribeScalingPolicies"
    )
    alarm = f"arn:{arn['partition']}:cloudwatch:{arn['region']}:{arn['account']}:alarm"
    # those of endpoints (autoscaling.wake, errors), and those that target tracking makes in the caller's name
    alarms = [f"{alarm}:*-wake", f"{alarm}:*-errors", f"{alarm}:TargetTracking-endpoint/*"]
    service = "sagemaker.application-autoscaling.amazonaws.com"
    linked_role = f"arn:{arn['partition']}:iam::{arn['account']}:role/aws-service-role/{service}/*"
    network = _rights("ec2", "DescribeVpcs DescribeSubnets DescribeSecurityGroups")
    return _document(
        [
            _allow("WhoAmI", ["sts:GetCallerIdentity"], ["*"]),
            _allow("ReadTheRole", ["iam:GetRole"], [settings.role]),
            _pass_role("GiveTheRoleToSageMaker", settings),
            *_bucket_rights("CodeImagesAndResults", arn),
            _allow("JobsAndHosting", _rights("sagemaker", f"{jobs} {hosting}"), named),
            _allow("ChangeAndDeleteOwn", _rights("sagemaker", own), [anything], tag),
            # else a tag would make somebody else's endpoint one that may be deleted
            _allow("TagWhatIsMade", ["sagemaker:AddTags"], [anything], {"StringLike": {_TAGGING: "Create*"}}),
            _allow("FindWhatRuns", [*lists, *_rights("application-autoscaling", scaling)], ["*"]),
            _allow("SeeAlarms", ["cloudwatch:DescribeAlarms", "cloudwatch:GetMetricStatistics"], ["*"]),
            _allow("ScaleEndpoints", _rights("cloudwatch", "PutMetricAlarm DeleteAlarms"), alarms),
            _allow(
                "LetAutoscalingWork",
                ["iam:CreateServiceLinkedRole"],
                [linked_role],
                {"StringEquals": {"iam:AWSServiceName": service}},
            ),
            _allow("ReadLogs", _rights("logs", "DescribeLogStreams GetLogEvents"), _logs(arn)),
            *_elsewhere(read, arn["partition"]),
            *_keys(settings),
            *([_allow("SeeTheNetwork", network, ["*"])] if settings.subnets else []),
        ]
    )


def execution(
    settings: AwsSettings, read: Sequence[str] = (), topics: Sequence[str] = (), secrets: Sequence[str] = ()
) -> dict[str, Any]:
    """The policy of the role that jobs and endpoints run as.

    Args:
        read: s3:// addresses of images that lie elsewhere.
        topics: ARNs of the SNS topics that asynchronous endpoints tell of their answers.
        secrets: names or ARNs in Secrets Manager and SSM that jobs fetch variables from.

    Raises:
        ThoraxError: one of them is no address, no topic or no secret.
    """
    for topic in topics:
        if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+", topic):
            raise ThoraxError(f"--topic {topic} must be the ARN of an SNS topic, arn:aws:sns:REGION:ACCOUNT:NAME")
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
            *([_allow("TellTopics", ["sns:Publish"], list(topics))] if topics else []),
            *_secrets(arn, secrets),
            *_elsewhere(read, arn["partition"]),
            *_keys(settings),
        ]
    )


def _secrets(arn: dict[str, str], references: Sequence[str]) -> list[dict[str, Any]]:
    """Reading of these secrets; and of what a key of the account's own encrypted, by way of their services alone."""
    places: dict[str, list[str]] = {}
    for reference in references:
        service, place = service_of(reference)
        here = f"arn:{arn['partition']}:{service}:{arn['region']}:{arn['account']}"
        if not place.startswith("arn:"):  # AWS ends the ARN of a secret with six characters of its own
            place = (
                f"{here}:secret:{place}-??????"
                if service == "secretsmanager"
                else f"{here}:parameter/{place.lstrip('/')}"
            )
        places.setdefault(service, []).append(place)
    calls = {"secretsmanager": "GetSecretValue", "ssm": "GetParameter"}
    found = [_allow(f"Read{_SERVICES[name]}", _rights(name, calls[name]), where) for name, where in places.items()]
    if not found:
        return []
    via = {"StringEquals": {"kms:ViaService": [f"{name}.{arn['region']}.amazonaws.com" for name in places]}}
    key = f"arn:{arn['partition']}:kms:{arn['region']}:{arn['account']}:key/*"
    return [*found, _allow("DecryptThem", ["kms:Decrypt"], [key], via)]


_SERVICES = {"secretsmanager": "Secrets", "ssm": "Parameters"}


def _rights(service: str, calls: str) -> list[str]:
    """Calls of a service, by names with blanks between."""
    return [f"{service}:{call}" for call in calls.split()]


def _named(arn: dict[str, str], kinds: str) -> list[str]:
    """Everything in the account of these kinds, by names with blanks between."""
    return [f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:{kind}/*" for kind in kinds.split()]


def _bucket_rights(sid: str, arn: dict[str, str]) -> list[dict[str, Any]]:
    rights = _rights("s3", "GetObject PutObject AbortMultipartUpload DeleteObject")
    prefix = arn["objects"].removeprefix(f"{arn['bucket']}/")
    below = {} if prefix == "*" else {"StringLike": {"s3:prefix": [prefix]}}
    return [
        _allow("FindTheBucket", ["s3:GetBucketLocation"], [arn["bucket"]]),
        _allow("SeeTheFolder", ["s3:ListBucket"], [arn["bucket"]], below),
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
        folder = prefix.rstrip("*/")
        below = f"{folder}/*" if folder else "*"  # images/* and not images*, which is images-private too
        names = [below] if folder else []
        condition = {"StringLike": {"s3:prefix": names}} if names else {}
        found.append(_allow(f"SeeImages{i}", ["s3:ListBucket"], [arn], condition))
        found.append(_allow(f"ReadImages{i}", ["s3:GetObject"], [f"{arn}/{below}"]))
    return found


def trust(settings: AwsSettings) -> dict[str, Any]:
    """Who may take the role: SageMaker alone, for what runs in the settings' account and region.

    Without the conditions SageMaker could be made to use the role for somebody else's job (the confused deputy).
    """
    arn = _arns(settings)
    source = f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:*"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": arn["account"]}, "ArnLike": {"aws:SourceArn": source}},
    }
    return _document([statement])


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
    """The use of the settings' keys.

    IAM knows a key by its ARN alone and takes no alias as a resource: an alias becomes every key of the account that
    has this alias.
    """
    keys = sorted({key for key in (settings.kms_key, settings.volume_kms_key) if key})
    aliases = [key[key.index("alias/") :] for key in keys if "alias/" in key]
    arn = _arns(settings)
    here = f"arn:{arn['partition']}:kms:{arn['region']}:{arn['account']}:key"
    named = [key if key.startswith("arn:") else f"{here}/{key}" for key in keys if "alias/" not in key]
    has_alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": aliases}}
    found = []
    for sid, resources, condition in (("UseTheKeys", named, {}), ("UseKeysByAlias", [f"{here}/*"], has_alias)):
        if not resources or (condition and not aliases):
            continue
        use = _rights("kms", "Decrypt DescribeKey Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext")
        grant = {**condition, "Bool": {"kms:GrantIsForAWSResource": "true"}}
        found.append(_allow(sid, use, resources, condition))
        found.append(_allow(f"{sid}OfMachines", ["kms:CreateGrant"], resources, grant))
    return found


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
