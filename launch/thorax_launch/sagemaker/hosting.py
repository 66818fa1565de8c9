"""Requests that host a bundle: model, endpoint configuration, endpoint, autoscaling, batch transform, model registry.

Pure functions; nothing here asks AWS. The bundle is a model.tar.gz in S3, as a training job leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker.machines import aws_image, disk_key, has_gpu
from thorax_launch.sagemaker.requests import AwsRequest, vpc, without_empty
from thorax_launch.settings import AwsSettings

#: Server -> the SDK's name and version of AWS's image: Ray Serve with torch 2.10; the last TorchServe, with torch 2.6.
SERVERS = {"ray": ("ray-serve", "1.4"), "torchserve": ("pytorch", "2.6")}
#: A machine image with a driver for the CUDA of the Ray images.
GPU_AMI = "al2-ami-sagemaker-inference-gpu-3-1"
#: Stands in the alarm of `autoscaling` for what AWS answers to the put_scaling_policy before it.
POLICY_ARN = "PolicyARN of the step scaling policy"
SERVERLESS_MEMORY = (1024, 2048, 3072, 4096, 5120, 6144)
#: AWS's Tags.
Tags = list[dict[str, str]]


@dataclass(frozen=True)
class HostingSpec:
    """What serves a bundle, and how.

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
    def endpoint_name(self) -> str:
        """The name that is asked."""
        return self.endpoint or self.name

    @property
    def machine(self) -> str:
        """Type of its machines; "" for a serverless endpoint, which has none."""
        return "" if self.kind == "serverless" else self.instance_type


def image(spec: HostingSpec, settings: AwsSettings) -> str:
    """The serving image: the setting's, AWS's Ray Serve image, or its TorchServe image of torch 2.6."""
    if settings.serving_image:
        return settings.serving_image
    framework, version = SERVERS[spec.server]
    return aws_image(framework, version, spec.machine or "ml.m5.large", settings.region, "inference")


def model(spec: HostingSpec, settings: AwsSettings, tags: Tags) -> AwsRequest:
    """CreateModel: the bundle in its image. No network is needed at start: the weights are in the bundle."""
    torchserve = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
    container = {
        "Image": image(spec, settings),
        "ModelDataUrl": spec.bundle,
        "Environment": torchserve if spec.server == "torchserve" else {},
    }
    return AwsRequest.checked(
        "Model",
        {
            "ModelName": spec.name,
            "PrimaryContainer": without_empty(container),
            "ExecutionRoleArn": settings.role,
            "VpcConfig": vpc(settings),
            "EnableNetworkIsolation": settings.network_isolation or None,
            "Tags": tags,
        },
    )


def endpoint_config(spec: HostingSpec, settings: AwsSettings, tags: Tags) -> AwsRequest:
    """CreateEndpointConfig: real-time, serverless or asynchronous.

    Raises:
        ThoraxError: what AWS refuses for that kind.
    """
    variant: dict[str, Any] = {"VariantName": "main", "ModelName": spec.name}
    folder, key = f"{settings.root}/{spec.endpoint_name}", {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    more: dict[str, Any] = {}
    if spec.kind == "serverless":
        _check_serverless(spec, settings)
        variant["ServerlessConfig"] = {"MemorySizeInMB": spec.memory_mb, "MaxConcurrency": spec.concurrency}
    else:
        variant |= {
            "InstanceType": spec.instance_type,
            "InitialInstanceCount": spec.instance_count,
            "InitialVariantWeight": 1.0,
        }
        if spec.server == "ray" and has_gpu(spec.instance_type):
            variant["InferenceAmiVersion"] = GPU_AMI
        # AWS takes the key for every machine; local storage has a hardware key all the same
        more["KmsKeyId"] = settings.volume_kms_key or settings.kms_key
    if spec.kind == "async":
        more["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": spec.concurrency},
            "OutputConfig": {"S3OutputPath": f"{folder}/async/", **key},
        }
    if spec.capture:
        more["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": spec.capture,
            "DestinationS3Uri": f"{folder}/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            **key,
        }
    parameters = {"EndpointConfigName": spec.name, "ProductionVariants": [variant], "Tags": tags, **more}
    # by boto3: the SDK's shape of a serverless variant sends a misspelt field
    return AwsRequest.checked("EndpointConfig", parameters, by_boto3=True)


def endpoint(spec: HostingSpec, tags: Tags) -> AwsRequest:
    """CreateEndpoint with the configuration of that name."""
    parameters = {"EndpointName": spec.endpoint_name, "EndpointConfigName": spec.name, "Tags": tags}
    return AwsRequest.checked("Endpoint", parameters)


def autoscaling(spec: HostingSpec, lowest: int, highest: int, per_minute: float) -> list[tuple[str, dict[str, Any]]]:
    """Calls of boto3's application-autoscaling: from `lowest` to `highest` instances, `per_minute` requests each.

    From 0, tracking alone waits for more than `per_minute` requests; there a second policy and cloudwatch's
    put_metric_alarm wake the first instance.

    Raises:
        ThoraxError: serverless endpoints scale by themselves; or the limits make no sense.
    """
    if spec.kind == "serverless":
        raise ThoraxError("--autoscale with a serverless endpoint: it scales by itself; leave it out")
    least = 0 if spec.kind == "async" else 1
    if not least <= lowest <= highest:
        raise ThoraxError(f"--autoscale {lowest},{highest}: give lowest,highest with {least} <= lowest <= highest")
    target, dimension = scaling_target(spec.endpoint_name), {"Name": "EndpointName", "Value": spec.endpoint_name}
    if spec.kind == "async":
        metric: dict[str, Any] = {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Statistic": "Average",
                "Dimensions": [dimension],
            }
        }
    else:
        metric = {"PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}}
    tracking = {"TargetValue": per_minute, "ScaleInCooldown": 300, "ScaleOutCooldown": 60, **metric}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("register_scalable_target", {**target, "MinCapacity": lowest, "MaxCapacity": highest}),
        _scaling_policy(target, f"{spec.endpoint_name}-load", "TargetTrackingScaling", tracking),
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
        "AlarmName": wake(spec.endpoint_name),
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Statistic": "Average",
        "Period": 60,
        "Dimensions": [dimension],
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [POLICY_ARN],
    }
    policy = _scaling_policy(target, wake(spec.endpoint_name), "StepScaling", step)
    return [*calls, policy, ("put_metric_alarm", alarm)]


def _scaling_policy(
    target: dict[str, str], name: str, kind: str, configuration: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    policy = {**target, "PolicyName": name, "PolicyType": kind, f"{kind}PolicyConfiguration": configuration}
    return "put_scaling_policy", policy


def scaling_target(endpoint: str, variant: str = "main") -> dict[str, str]:
    """What application-autoscaling calls the machines of an endpoint."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def wake(endpoint: str) -> str:
    """Name of the policy that takes an asynchronous endpoint from 0 instances to 1, and of its alarm."""
    return f"{endpoint}-wake"


def transform(
    name: str, images: str, settings: AwsSettings, tags: Tags, options: TransformOptions, model_name: str = ""
) -> AwsRequest:
    """CreateTransformJob: every image below an S3 prefix, one request each, JSON out beside it.

    Args:
        model_name: of the model; empty: the job's.

    Raises:
        ThoraxError: AWS holds concurrent x payload below 100 MB; or takes no key for the machine's disk.
    """
    if options.concurrent * options.payload_mb > 100:
        raise ThoraxError(
            f"--concurrent {options.concurrent} x --payload-mb {options.payload_mb} is above the 100 MB that AWS takes"
            " at once; lower one"
        )
    output = {
        "S3OutputPath": transform_output(name, settings),
        "Accept": "application/json",
        "KmsKeyId": settings.kms_key,
    }
    machines = {
        "InstanceType": options.instance_type,
        "InstanceCount": options.instance_count,
        "VolumeKmsKeyId": disk_key(settings, options.instance_type),
    }
    return AwsRequest.checked(
        "TransformJob",
        {
            "TransformJobName": name,
            "ModelName": model_name or name,
            "MaxConcurrentTransforms": options.concurrent,
            "MaxPayloadInMB": options.payload_mb,
            "BatchStrategy": "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": images}},
                "ContentType": "application/x-image",
                "CompressionType": "None",
                "SplitType": "None",
            },
            "TransformOutput": without_empty(output),
            "TransformResources": without_empty(machines),
            "Tags": tags,
        },
    )


def transform_output(name: str, settings: AwsSettings) -> str:
    """s3:// address of a batch transform's answers."""
    return f"{settings.root}/{name}/scores/"


def model_package(
    spec: HostingSpec, group: str, settings: AwsSettings, metrics_uri: str, card: str, approved: bool = False
) -> AwsRequest:
    """CreateModelPackage: the bundle in the registry, with its metrics file and a model card.

    Args:
        group: model package group; it must be there.
        metrics_uri: s3:// address of metrics.json.
        card: the model card's content, JSON by SageMaker's model card schema.
        approved: else it waits for a person's approval.
    """
    kinds = ["application/x-image", "image/png", "image/jpeg", "application/dicom", "application/json"]
    parameters = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": f"bundle of {spec.name}",
        "ModelApprovalStatus": "Approved" if approved else "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [{"Image": image(spec, settings), "ModelDataUrl": spec.bundle}],
            "SupportedContentTypes": kinds,
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": [spec.instance_type],
            "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": metrics_uri}}},
        "ModelCard": {"ModelCardContent": card, "ModelCardStatus": "Draft"},
    }
    return AwsRequest.checked("ModelPackage", parameters, by_boto3=True)


def _check_serverless(spec: HostingSpec, settings: AwsSettings) -> None:
    if spec.memory_mb not in SERVERLESS_MEMORY:
        raise ThoraxError(f"--memory-mb {spec.memory_mb} is not one of {', '.join(map(str, SERVERLESS_MEMORY))}")
    if not 1 <= spec.concurrency <= 200:
        raise ThoraxError(f"--concurrency {spec.concurrency}: a serverless endpoint takes 1 to 200 requests at once")
    if settings.subnets or settings.network_isolation:
        raise ThoraxError(
            "a serverless endpoint cannot be in a VPC or isolated from the network; take a real-time one, or clear"
            " subnets and network_isolation"
        )
    if spec.capture:
        raise ThoraxError("--capture: AWS stores no requests of serverless endpoints; leave it out")
