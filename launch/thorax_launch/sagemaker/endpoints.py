"""Requests that host a bundle: model, endpoint configuration, endpoint, autoscaling, batch transform, model registry.

Pure functions; nothing here asks AWS. The bundle is a model.tar.gz in S3, as a training job leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker import disks
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.settings import AwsSettings

#: Server -> the SDK's name and version of AWS's image: Ray Serve with torch 2.10; the last TorchServe, with torch 2.6.
SERVERS = {"ray": ("ray-serve", "1.4"), "torchserve": ("pytorch", "2.6")}
#: A machine image whose driver fits the Ray images' CUDA.
GPU_AMI = "al2-ami-sagemaker-inference-gpu-3-1"
#: Stands in the alarm of `autoscaling` for what AWS answers to the put_scaling_policy before it.
POLICY_ARN = "PolicyARN of the step scaling policy"
SERVERLESS_MEMORY = (1024, 2048, 3072, 4096, 5120, 6144)


@dataclass(frozen=True)
class Host:
    """What a bundle is served by.

    Attributes:
        name: of model and endpoint configuration; each revision of an endpoint has its own.
        bundle: s3:// address of model.tar.gz.
        kind: realtime, serverless or async.
        server: ray or torchserve.
        instance_type: of realtime and async endpoints.
        instance_count: to begin with.
        memory_mb: of a serverless endpoint.
        concurrency: requests at once: of a serverless endpoint, or of one instance of an async one.
        capture: percent of requests that are stored; 0: none.
        endpoint: its name; empty: `name`.
    """

    name: str
    bundle: str
    kind: str = "realtime"
    server: str = "ray"
    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    memory_mb: int = 4096
    concurrency: int = 4
    capture: int = 0
    endpoint: str = ""

    @property
    def answers_as(self) -> str:
        """The endpoint's name."""
        return self.endpoint or self.name


def image(host: Host, settings: AwsSettings) -> str:
    """The serving image: the setting's, AWS's Ray Serve image, or its TorchServe image of torch 2.6."""
    from sagemaker.core import image_uris

    if settings.serving_image:
        return settings.serving_image
    framework, version = SERVERS[host.server]
    machine = host.instance_type if host.kind != "serverless" else "ml.m5.large"
    try:
        return str(
            image_uris.retrieve(
                framework, settings.region, version=version, instance_type=machine, image_scope="inference"
            )
        )
    except ValueError as error:
        raise ThoraxError(
            f"no AWS image for --region {settings.region} and --instance-type {machine}: {str(error).splitlines()[0]}"
        ) from None


def model(host: Host, settings: AwsSettings, tags: dict[str, str]) -> AwsRequest:
    """CreateModel: the bundle in its image. No network is needed at start: the weights are in the bundle."""
    from sagemaker.core import shapes

    environment = (
        {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
        if host.server == "torchserve"
        else {}
    )
    container = shapes.ContainerDefinition(
        image=image(host, settings), model_data_url=host.bundle, environment=environment
    )
    network = (
        shapes.VpcConfig(subnets=list(settings.subnets), security_group_ids=list(settings.security_groups))
        if settings.subnets
        else None
    )
    return _checked(
        "Model",
        model_name=host.name,
        primary_container=container,
        execution_role_arn=settings.role,
        vpc_config=network,
        enable_network_isolation=settings.network_isolation or None,
        tags=_tags(tags),
    )


def endpoint_config(host: Host, settings: AwsSettings, tags: dict[str, str]) -> AwsRequest:
    """CreateEndpointConfig: real-time, serverless or asynchronous.

    Raises:
        ThoraxError: what AWS refuses for that kind.
    """

    variant: dict[str, Any] = {"VariantName": "main", "ModelName": host.name}
    more: dict[str, Any] = {}
    if host.kind == "serverless":
        _check_serverless(host, settings)
        variant["ServerlessConfig"] = {"MemorySizeInMB": host.memory_mb, "MaxConcurrency": host.concurrency}
    else:
        variant |= {
            "InstanceType": host.instance_type,
            "InitialInstanceCount": host.instance_count,
            "InitialVariantWeight": 1.0,
        }
        if host.server == "ray" and _has_gpu(host.instance_type):
            variant["InferenceAmiVersion"] = GPU_AMI
        if (
            settings.volume_kms_key or settings.kms_key
        ):  # AWS takes it for every machine; local storage has a hardware key all the same
            more["KmsKeyId"] = settings.volume_kms_key or settings.kms_key
    if host.kind == "async":
        more["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": host.concurrency},
            "OutputConfig": {
                "S3OutputPath": f"{settings.root}/{host.answers_as}/async/",
                **({"KmsKeyId": settings.kms_key} if settings.kms_key else {}),
            },
        }
    if host.capture:
        more["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": host.capture,
            "DestinationS3Uri": f"{settings.root}/{host.answers_as}/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            **({"KmsKeyId": settings.kms_key} if settings.kms_key else {}),
        }
    # AWS's own names, sent by boto3: the SDK's shape of a serverless variant sends a misspelt field
    request = AwsRequest(
        "EndpointConfig",
        {"EndpointConfigName": host.name, "ProductionVariants": [variant], "Tags": _plain(tags), **more},
        by_boto3=True,
    )
    request.check()
    return request


def endpoint(host: Host, tags: dict[str, str]) -> AwsRequest:
    """CreateEndpoint with the configuration of that name."""
    return _checked("Endpoint", endpoint_name=host.answers_as, endpoint_config_name=host.name, tags=_tags(tags))


def autoscaling(host: Host, lowest: int, highest: int, per_minute: float) -> list[tuple[str, dict[str, Any]]]:
    """Calls of boto3's application-autoscaling: from `lowest` to `highest` instances, `per_minute` requests each.

    From 0, tracking alone waits for more than `per_minute` requests; there a second policy and cloudwatch's
    put_metric_alarm wake the first instance.

    Raises:
        ThoraxError: serverless endpoints scale by themselves; or the limits make no sense.
    """
    if host.kind == "serverless":
        raise ThoraxError("--autoscale with a serverless endpoint: it scales by itself; leave it out")
    if not (0 if host.kind == "async" else 1) <= lowest <= highest:
        raise ThoraxError(
            f"--autoscale {lowest},{highest}: give lowest,highest with {0 if host.kind == 'async' else 1} <= lowest <="
            " highest"
        )
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{host.answers_as}/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    if host.kind == "async":
        metric: dict[str, Any] = {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Statistic": "Average",
                "Dimensions": [{"Name": "EndpointName", "Value": host.answers_as}],
            }
        }
    else:
        metric = {"PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}}
    policy = {"TargetValue": per_minute, "ScaleInCooldown": 300, "ScaleOutCooldown": 60, **metric}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("register_scalable_target", {**target, "MinCapacity": lowest, "MaxCapacity": highest}),
        (
            "put_scaling_policy",
            {
                **target,
                "PolicyName": f"{host.answers_as}-load",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": policy,
            },
        ),
    ]
    if lowest:
        return calls
    step = {
        "AdjustmentType": "ChangeInCapacity",
        "MetricAggregationType": "Average",
        "Cooldown": 300,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }
    alarm = {
        "AlarmName": wake(host.answers_as),
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Statistic": "Average",
        "Period": 60,
        "Dimensions": [{"Name": "EndpointName", "Value": host.answers_as}],
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [POLICY_ARN],
    }
    return [
        *calls,
        (
            "put_scaling_policy",
            {
                **target,
                "PolicyName": wake(host.answers_as),
                "PolicyType": "StepScaling",
                "StepScalingPolicyConfiguration": step,
            },
        ),
        ("put_metric_alarm", alarm),
    ]


def wake(endpoint: str) -> str:
    """Name of the policy that takes an asynchronous endpoint from 0 instances to 1, and of its alarm."""
    return f"{endpoint}-wake"


def transform(
    name: str,
    model_name: str,
    images: str,
    settings: AwsSettings,
    tags: dict[str, str],
    *,
    instance_type: str = "ml.m5.xlarge",
    instance_count: int = 1,
    concurrent: int = 4,
    payload_mb: int = 6,
    content_type: str = "application/x-image",
) -> AwsRequest:
    """CreateTransformJob: every image below an S3 prefix, one request each, JSON out beside it.

    Raises:
        ThoraxError: AWS holds concurrent x payload below 100 MB; or takes no key for the machine's disk.
    """
    from sagemaker.core import shapes

    if concurrent * payload_mb > 100:
        raise ThoraxError(
            f"--concurrent {concurrent} x --payload-mb {payload_mb} is above the 100 MB that AWS takes at once;"
            " lower one"
        )
    source = shapes.TransformDataSource(
        s3_data_source=shapes.TransformS3DataSource(s3_data_type="S3Prefix", s3_uri=images)
    )
    keys = {"kms_key_id": settings.kms_key} if settings.kms_key else {}
    disk = {"volume_kms_key_id": key} if (key := disks.key(settings, instance_type)) else {}
    return _checked(
        "TransformJob",
        transform_job_name=name,
        model_name=model_name,
        max_concurrent_transforms=concurrent,
        max_payload_in_mb=payload_mb,
        batch_strategy="SingleRecord",
        transform_input=shapes.TransformInput(
            data_source=source, content_type=content_type, split_type="None", compression_type="None"
        ),
        transform_output=shapes.TransformOutput(
            s3_output_path=f"{settings.root}/{name}/scores/", accept="application/json", **keys
        ),
        transform_resources=shapes.TransformResources(
            instance_type=instance_type, instance_count=instance_count, **disk
        ),
        tags=_tags(tags),
    )


def model_package(
    host: Host, group: str, settings: AwsSettings, metrics_uri: str, card: str, approved: bool = False
) -> AwsRequest:
    """CreateModelPackage: the bundle in the registry, with its metrics file and a model card.

    Args:
        group: model package group; it must be there.
        metrics_uri: s3:// address of metrics.json.
        card: the model card's content, JSON by SageMaker's model card schema.
        approved: else it waits for a person's approval.
    """
    kinds = ["application/x-image", "image/png", "image/jpeg", "application/dicom", "application/json"]
    request = AwsRequest(
        "ModelPackage",
        {
            "ModelPackageGroupName": group,
            "ModelPackageDescription": f"bundle of {host.name}",
            "ModelApprovalStatus": "Approved" if approved else "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [{"Image": image(host, settings), "ModelDataUrl": host.bundle}],
                "SupportedContentTypes": kinds,
                "SupportedResponseMIMETypes": ["application/json"],
                "SupportedRealtimeInferenceInstanceTypes": [host.instance_type],
                "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
            },
            "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": metrics_uri}}},
            "ModelCard": {"ModelCardContent": card, "ModelCardStatus": "Draft"},
        },
        by_boto3=True,
    )
    request.check()
    return request


def _check_serverless(host: Host, settings: AwsSettings) -> None:
    if host.memory_mb not in SERVERLESS_MEMORY:
        raise ThoraxError(f"--memory-mb {host.memory_mb} is not one of {', '.join(map(str, SERVERLESS_MEMORY))}")
    if not 1 <= host.concurrency <= 200:
        raise ThoraxError(f"--concurrency {host.concurrency}: a serverless endpoint takes 1 to 200 requests at once")
    if settings.subnets or settings.network_isolation:
        raise ThoraxError(
            "a serverless endpoint cannot be in a VPC or isolated from the network; take a real-time one, or clear"
            " subnets and network_isolation"
        )
    if host.capture:
        raise ThoraxError("--capture: AWS stores no requests of serverless endpoints; leave it out")


def _has_gpu(instance_type: str) -> bool:
    return instance_type.startswith(("ml.p", "ml.g"))


def _tags(tags: dict[str, str]) -> list[Any]:
    from sagemaker.core.shapes import Tag

    return [Tag(key=key, value=value) for key, value in tags.items()]


def _plain(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _checked(resource: str, **arguments: Any) -> AwsRequest:
    request = AwsRequest(resource, arguments)
    request.check()
    return request
