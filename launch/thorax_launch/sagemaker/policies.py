"""Least rights of the person who launches and of the role that jobs run as, for one bucket and its keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.autoscaling import NAMESPACE, PREFIX
from thorax_launch.sagemaker.images import repositories
from thorax_launch.sagemaker.policy_statements import (
    JOB_LOGS,
    allow,
    arns,
    bucket_rights,
    document,
    elsewhere,
    keys,
    log_streams,
    named,
    network,
    pass_role,
    rights,
    secret_rights,
)
from thorax_launch.sagemaker.requests import MARK
from thorax_launch.settings import AwsSettings

#: The tag of everything that these commands make; what has it may be deleted, stopped and changed.
_OWN = {"StringEquals": {f"aws:ResourceTag/{MARK}": "thorax"}}
#: The same of what is being made.
_MADE = {"StringEquals": {f"aws:RequestTag/{MARK}": "thorax"}}
#: SageMaker lets a tag be set by the call that makes a thing alone; else a tag would make somebody else's endpoint one
#: that may be deleted.
_WHEN_MADE = {"StringLike": {"sagemaker:TaggingAction": "Create*"}}
#: Names of pipelines that are given none; their runs, which have no tags, may be stopped.
_PIPELINES = ("thorax-*",)


@dataclass(frozen=True)
class Reach:
    """What a policy names besides the settings.

    Attributes:
        read: s3:// addresses of images that lie elsewhere, which may be read there.
        topics: ARNs of the SNS topics that asynchronous endpoints tell of their answers.
        secrets: names or ARNs in Secrets Manager and SSM that jobs fetch variables from.
        groups: the model package groups whose packages may be made, approved and rejected; none: every group.
        pipelines: names of pipelines whose runs may be stopped, besides thorax-*.
    """

    read: Sequence[str] = ()
    topics: Sequence[str] = ()
    secrets: Sequence[str] = ()
    groups: Sequence[str] = ()
    pipelines: Sequence[str] = ()


def launcher(settings: AwsSettings, reach: Reach = Reach()) -> dict[str, Any]:
    """The policy of a person or a CI job that runs the commands.

    Raises:
        ThoraxError: an address is none.
    """
    arn = arns(settings)
    make = (
        "CreateTrainingJob DescribeTrainingJob CreateHyperParameterTuningJob"
        " DescribeHyperParameterTuningJob ListTrainingJobsForHyperParameterTuningJob CreateTransformJob"
        " DescribeTransformJob CreateProcessingJob DescribeProcessingJob CreateModel DescribeModel"
        " CreateEndpointConfig DescribeEndpointConfig CreateEndpoint DescribeEndpoint CreatePipeline DescribePipeline"
        " ListPipelineExecutions DescribePipelineExecution ListPipelineExecutionSteps ListTags"
    )
    registry = (
        "CreateModelPackageGroup CreateModelPackage DescribeModelPackage DescribeModelPackageGroup UpdateModelPackage"
    )
    # UpdateEndpointWeightsAndCapacities: Application Auto Scaling asks it of whoever registers a target
    own = (
        "InvokeEndpoint InvokeEndpointAsync DeleteModel DeleteEndpointConfig UpdateEndpoint DeleteEndpoint"
        " UpdateEndpointWeightsAndCapacities UpdatePipeline StartPipelineExecution StopTrainingJob"
        " StopHyperParameterTuningJob StopTransformJob StopProcessingJob UpdateTrainingJob"
    )
    scaling = "RegisterScalableTarget DeregisterScalableTarget PutScalingPolicy DeleteScalingPolicy"
    anything = f"{arn['sagemaker']}:*"  # of the calls' own kinds
    targets = f"arn:{arn['partition']}:application-autoscaling:{arn['region']}:{arn['account']}:scalable-target/*"
    groups = [f"{arn['sagemaker']}:{place}" for name in _forms(reach.groups) for place in _of_group(name)]
    pipelines = _forms((*_PIPELINES, *reach.pipelines))
    runs = [f"{arn['sagemaker']}:pipeline/{name}/execution/*" for name in pipelines]
    return document(
        [
            allow("Look", _looks(settings), ["*"]),
            allow("ReadTheRole", ["iam:GetRole"], [settings.role]),
            pass_role("GiveTheRoleToSageMaker", settings),
            *bucket_rights("CodeImagesAndResults", arn),
            allow("MakeAndDescribe", rights("sagemaker", make if groups else f"{make} {registry}"), [anything]),
            *([allow("Registry", rights("sagemaker", registry), groups)] if groups else []),
            allow(
                "ChangeAndDeleteOwn",
                rights("sagemaker", own) + rights("application-autoscaling", scaling),
                [anything, targets],
                _OWN,
            ),
            allow("StopRunsOfPipelines", ["sagemaker:StopPipelineExecution"], runs),
            allow("TagWhatIsMade", ["sagemaker:AddTags"], [anything], _WHEN_MADE),
            allow(
                "ScaleEndpoints",
                rights("application-autoscaling", "RegisterScalableTarget TagResource"),
                [targets],
                {**_MADE, "StringEqualsIfExists": {"application-autoscaling:service-namespace": NAMESPACE}},
            ),
            *_alarms(arn),
            allow("ReadLogs", rights("logs", "DescribeLogStreams GetLogEvents"), log_streams(arn, JOB_LOGS)),
            *elsewhere(reach.read, arn["partition"]),
            *keys(settings, "Decrypt DescribeKey GenerateDataKey"),
        ]
    )


def _looks(settings: AwsSettings) -> list[str]:
    """Rights to look for which AWS knows no narrower resource than everything."""
    lists = (
        "ListEndpoints ListTrainingJobs ListHyperParameterTuningJobs ListModels ListModelPackages ListEndpointConfigs"
        " ListTransformJobs ListProcessingJobs ListPipelines"
    )
    return [
        "sts:GetCallerIdentity",
        *rights("sagemaker", lists),
        *rights("application-autoscaling", "DescribeScalableTargets DescribeScalingPolicies"),
        *rights("cloudwatch", "DescribeAlarms GetMetricStatistics"),
        *(rights("ec2", "DescribeVpcs DescribeSubnets DescribeSecurityGroups") if settings.subnets else []),
    ]


def _forms(names: Iterable[str]) -> list[str]:
    """The names as they are, and in small letters, as AWS writes them in most ARNs."""
    return sorted({form for name in names for form in (name, name.lower())})


def _of_group(name: str) -> tuple[str, ...]:
    """The resources of a model package group's name: itself, and its packages, NAME/VERSION."""
    return f"model-package-group/{name}", f"model-package/{name}/*"


def _alarms(arn: dict[str, str]) -> list[dict[str, Any]]:
    """Alarms of ours, and what target tracking needs: its own, by way of that service alone, and its role."""
    alarm = f"arn:{arn['partition']}:cloudwatch:{arn['region']}:{arn['account']}:alarm"
    service = "sagemaker.application-autoscaling.amazonaws.com"
    linked_role = f"arn:{arn['partition']}:iam::{arn['account']}:role/aws-service-role/{service}/*"
    change, by_aws = rights("cloudwatch", "PutMetricAlarm DeleteAlarms"), {"Bool": {"aws:ViaAWSService": "true"}}
    named = {"StringEquals": {"iam:AWSServiceName": service}}
    return [
        allow("OwnAlarms", change, [f"{alarm}:{PREFIX}*"]),
        allow("AlarmsOfTracking", change, [f"{alarm}:TargetTracking-endpoint/*"], by_aws),
        allow("LetAutoscalingWork", ["iam:CreateServiceLinkedRole"], [linked_role], named),
    ]


def execution(settings: AwsSettings, reach: Reach = Reach()) -> dict[str, Any]:
    """The policy of the role that jobs and endpoints run as.

    Raises:
        ThoraxError: an address, a topic or a secret is none.
    """
    for topic in reach.topics:
        if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+", topic):
            raise ThoraxError(f"--topic {topic} must be the ARN of an SNS topic, arn:aws:sns:REGION:ACCOUNT:NAME")
    arn = arns(settings)
    steps = (
        "CreateTrainingJob DescribeTrainingJob CreateProcessingJob DescribeProcessingJob CreateModelPackage"
        " CreateModelPackageGroup DescribeModelPackageGroup"
    )
    logs = "CreateLogGroup DescribeLogStreams CreateLogStream PutLogEvents"
    pull = "BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer"
    spaces = {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "SageMaker*"]}}
    kinds = "training-job processing-job model-package model-package-group"
    anything, images = f"{arn['sagemaker']}:*", repositories(settings, arn["partition"])
    return document(
        [
            allow("FindTheBucket", ["s3:GetBucketLocation"], [arn["bucket"]]),
            *bucket_rights("ImagesAndResults", arn),
            allow("WriteLogs", rights("logs", logs), log_streams(arn)),
            allow("WriteMetrics", ["cloudwatch:PutMetricData"], ["*"], spaces),
            allow("LogIntoImages", ["ecr:GetAuthorizationToken"], ["*"]),
            *([allow("PullImages", rights("ecr", pull), images)] if images else []),
            allow("RunPipelineSteps", rights("sagemaker", steps), named(arn, kinds)),
            allow("StopOwnSteps", rights("sagemaker", "StopTrainingJob StopProcessingJob"), [anything], _OWN),
            allow("TagSteps", ["sagemaker:AddTags"], [anything], _WHEN_MADE),
            pass_role("GiveItselfToSteps", settings),
            *network(settings, arn),
            *([allow("TellTopics", ["sns:Publish"], list(reach.topics))] if reach.topics else []),
            *secret_rights(arn, reach.secrets),
            *elsewhere(reach.read, arn["partition"]),
            *keys(settings, "Decrypt DescribeKey Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext"),
        ]
    )


def trust(settings: AwsSettings) -> dict[str, Any]:
    """Who may take the role: SageMaker alone, for what runs in the settings' account and region.

    Without the conditions SageMaker could be made to use the role for somebody else's job (the confused deputy).
    """
    arn = arns(settings)
    source = f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:*"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": arn["account"]}, "ArnLike": {"aws:SourceArn": source}},
    }
    return document([statement])
