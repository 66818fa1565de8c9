"""Requests that host a bundle: model, endpoint configuration, endpoint, autoscaling, batch transform, model registry.

Pure functions; nothing here asks AWS. The bundle is a model.tar.gz in S3, as a training job leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker.containers import environment
from thorax_launch.sagemaker.drivers import machine_image
from thorax_launch.sagemaker.machines import aws_image, disk_key, kinds
from thorax_launch.sagemaker.requests import AwsRequest, vpc, without_empty
from thorax_launch.settings import AwsSettings

#: Server -> the SDK's name and version of AWS's image: Ray Serve with torch 2.10; the last TorchServe, with torch 2.6.
SERVERS = {"ray": ("ray-serve", "1.4"), "torchserve": ("pytorch", "2.6")}
SERVERLESS_MEMORY = (1024, 2048, 3072, 4096, 5120, 6144)
#: Names of the variants of an endpoint: what answers, and what gets a copy of the requests.
MAIN, SHADOW = "main", "shadow"
#: Partitions of AWS without serverless inference.
_NO_SERVERLESS = ("us-gov-", "us-iso", "cn-")
#: Megabytes that AWS sends a container at once in a batch transform.
MOST_PAYLOAD_MB = 100
#: AWS's Tags.
Tags = list[dict[str, str]]


@dataclass(frozen=True)
class Variant:
    """One of several bundles that share the requests of an endpoint.

    Attributes:
        name: of the variant.
        bundle: s3:// address of its model.tar.gz.
        weight: its share is this over the sum of all weights.
    """

    name: str
    bundle: str
    weight: float

    def model(self, revision: str) -> str:
        """Name of its model in an endpoint's revision."""
        return f"{revision}-{self.name}"


@dataclass(frozen=True)
class HostingSpec:
    """What serves a bundle, and how.

    Attributes:
        name: of model and endpoint configuration; each revision of an endpoint has its own.
        bundle: s3:// address of model.tar.gz.
        kind: realtime, serverless or async.
        server: ray or torchserve.
        instance_type: of realtime and async endpoints; with commas several, of which AWS takes the first that it has.
        instance_count: to begin with.
        memory_mb: of a serverless endpoint.
        concurrency: requests at once: of a serverless endpoint, or of one instance of an async one.
        capture: percent of requests that are stored; 0: none.
        endpoint: its name; empty: `name`.
        env: variables of the container, put over those that are set here.
        ami: machine image of GPU machines; empty: by the table in drivers.py.
        startup_minutes, download_minutes: longest time to the first good /ping, and for the bundle; 0: AWS's.
        provisioned: warm copies of a serverless endpoint.
        success_topic, error_topic: ARNs of SNS topics of an asynchronous endpoint.
        targets: names of the bundles of a multi-model endpoint, whose `bundle` is their folder's address.
        shadow: s3:// address of a second bundle, which gets a copy of the requests; "" for none.
        shadow_percent: of the requests.
        variants: the bundles that share the requests, where there are several; `bundle` is the first one's then.
        sha256: of the bundle's bundle.json; "" where it is not known.
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
    env: Mapping[str, str] = field(default_factory=dict)
    ami: str = ""
    startup_minutes: int = 0
    download_minutes: int = 0
    provisioned: int = 0
    success_topic: str = ""
    error_topic: str = ""
    targets: tuple[str, ...] = ()
    shadow: str = ""
    shadow_percent: int = 100
    variants: tuple[Variant, ...] = ()
    sha256: str = ""

    @property
    def endpoint_name(self) -> str:
        """The name that is asked."""
        return self.endpoint or self.name

    @property
    def machine(self) -> str:
        """Type of its machines, of several the first; "" for a serverless endpoint, which has none."""
        return "" if self.kind == "serverless" else self.machines[0]

    @property
    def machines(self) -> list[str]:
        """Types of its machines, the one to prefer first."""
        return kinds(self.instance_type)


def image(spec: HostingSpec, settings: AwsSettings) -> str:
    """The serving image: the setting's, AWS's Ray Serve image, or its TorchServe image of torch 2.6."""
    if settings.serving_image:
        return settings.serving_image
    framework, version = SERVERS[spec.server]
    return aws_image(framework, version, spec.machine or "ml.m5.large", settings.region, "inference")


def model(spec: HostingSpec, settings: AwsSettings, tags: Tags) -> AwsRequest:
    """CreateModel: the bundle, or the folder of several, in its image. No network is needed at start: the weights are
    in the bundle.
    """
    container = {
        "Image": image(spec, settings),
        "Mode": "MultiModel" if spec.targets else "",
        "ModelDataUrl": spec.bundle,
        "Environment": environment(spec.server, spec.machine, spec.env, bool(spec.targets)),
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


def shadow_model(spec: HostingSpec, settings: AwsSettings, tags: Tags) -> AwsRequest:
    """CreateModel of the shadow's bundle, in the same image."""
    return model(replace(spec, name=shadow_name(spec.name), bundle=spec.shadow), settings, tags)


def variant_model(spec: HostingSpec, one: Variant, settings: AwsSettings, tags: Tags) -> AwsRequest:
    """CreateModel of a variant's bundle, in the same image."""
    return model(replace(spec, name=one.model(spec.name), bundle=one.bundle), settings, tags)


def endpoint_config(spec: HostingSpec, settings: AwsSettings, tags: Tags) -> AwsRequest:
    """CreateEndpointConfig: real-time, serverless or asynchronous.

    Raises:
        ThoraxError: what AWS refuses for that kind.
    """
    variant: dict[str, Any] = {"VariantName": MAIN, "ModelName": spec.name}
    folder, key = f"{settings.root}/{spec.endpoint_name}", {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    more: dict[str, Any] = {}
    if spec.kind == "serverless":
        _check_serverless(spec, settings)
        serverless = {"MemorySizeInMB": spec.memory_mb, "MaxConcurrency": spec.concurrency}
        variant["ServerlessConfig"] = serverless | (
            {"ProvisionedConcurrency": spec.provisioned} if spec.provisioned else {}
        )
    else:
        variant |= {**_machines(spec), "InitialInstanceCount": spec.instance_count, "InitialVariantWeight": 1.0}
        amis = {machine_image("endpoint", machine, image(spec, settings), spec.ami) for machine in spec.machines}
        variant |= without_empty(
            {
                "InferenceAmiVersion": min(amis),  # all the same: see _machines
                "ModelDataDownloadTimeoutInSeconds": spec.download_minutes * 60 or None,
                "ContainerStartupHealthCheckTimeoutInSeconds": spec.startup_minutes * 60 or None,
            }
        )
        # AWS takes the key for every machine; local storage has a hardware key all the same
        more["KmsKeyId"] = settings.volume_kms_key or settings.kms_key
    if spec.kind == "async":
        more["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": spec.concurrency},
            "OutputConfig": {
                "S3OutputPath": f"{folder}/async/",
                "S3FailurePath": f"{folder}/async-failed/",
                **({"NotificationConfig": topics} if (topics := _topics(spec)) else {}),
                **key,
            },
        }
    if spec.capture:
        more["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": spec.capture,
            "DestinationS3Uri": f"{folder}/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            **key,
        }
    if spec.shadow:
        more["ShadowProductionVariants"] = [shadow_variant(variant, spec.shadow_percent)]
    several = [
        {**variant, "VariantName": one.name, "ModelName": one.model(spec.name), "InitialVariantWeight": one.weight}
        for one in spec.variants
    ]
    parameters = {"EndpointConfigName": spec.name, "ProductionVariants": several or [variant], "Tags": tags, **more}
    # by boto3: the SDK's shape of a serverless variant sends a misspelt field
    return AwsRequest.checked("EndpointConfig", parameters, by_boto3=True)


def shadow_name(name: str) -> str:
    """Of the shadow's model, by that of the endpoint's revision."""
    return f"{name}-{SHADOW}"


def was_shadow(model: str) -> bool:
    """Whether a model was made for a shadow variant."""
    return model.endswith(f"-{SHADOW}")


def shadow_variant(main: dict[str, Any], percent: int) -> dict[str, Any]:
    """The shadow variant beside `main`, on as many machines of the same type."""
    share = main["InitialVariantWeight"] * percent / 100
    name = shadow_name(main["ModelName"])
    return {**main, "VariantName": SHADOW, "ModelName": name, "InitialVariantWeight": share}


def _machines(spec: HostingSpec) -> dict[str, Any]:
    """The type of its machines, or the pools from which AWS takes the first that it has."""
    found = spec.machines
    if len(found) == 1:
        return {"InstanceType": found[0]}
    return {"InstancePools": [{"InstanceType": machine, "Priority": k} for k, machine in enumerate(found, 1)]}


def _topics(spec: HostingSpec) -> dict[str, str]:
    return without_empty({"SuccessTopic": spec.success_topic, "ErrorTopic": spec.error_topic})


def endpoint(spec: HostingSpec, tags: Tags) -> AwsRequest:
    """CreateEndpoint with the configuration of that name."""
    parameters = {"EndpointName": spec.endpoint_name, "EndpointConfigName": spec.name, "Tags": tags}
    return AwsRequest.checked("Endpoint", parameters)


@dataclass(frozen=True)
class TransformPlace:
    """What a batch transform reads and writes.

    Attributes:
        name: of the job, and of its model.
        manifest: s3:// address of the list of its images.
        output: s3:// address of its answers.
        image: URI of the container's image.
    """

    name: str
    manifest: str
    output: str
    image: str


def transform(place: TransformPlace, settings: AwsSettings, tags: Tags, options: TransformOptions) -> AwsRequest:
    """CreateTransformJob: every image of a manifest, one request each, JSON or JSON Lines out.

    Raises:
        ThoraxError: AWS holds concurrent x payload below 100 MB; takes no key for the machine's disk; or no machine
            image is known for the machine.
    """
    if options.concurrent * options.payload_mb > MOST_PAYLOAD_MB:
        raise ThoraxError(
            f"--concurrent {options.concurrent} x --payload-mb {options.payload_mb} is above the {MOST_PAYLOAD_MB} MB"
            " that AWS takes at once; lower one"
        )
    accept = "application/jsonlines" if options.jsonlines else "application/json"
    output = {"S3OutputPath": place.output, "Accept": accept, "KmsKeyId": settings.kms_key}
    machines = {
        "InstanceType": options.instance_type,
        "InstanceCount": options.instance_count,
        "VolumeKmsKeyId": disk_key(settings, options.instance_type),
        "TransformAmiVersion": machine_image("batch transform", options.instance_type, place.image, options.ami),
    }
    return AwsRequest.checked(
        "TransformJob",
        {
            "TransformJobName": place.name,
            "ModelName": place.name,
            "MaxConcurrentTransforms": options.concurrent,
            "MaxPayloadInMB": options.payload_mb,
            # a busy container (429, 503) and a slow image do not fail the job at once
            "ModelClientConfig": {"InvocationsTimeoutInSeconds": 600, "InvocationsMaxRetries": 3},
            "BatchStrategy": "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": place.manifest}},
                "ContentType": "application/x-image",
                "CompressionType": "None",
                "SplitType": "None",
            },
            "TransformOutput": without_empty(output),
            "TransformResources": without_empty(machines),
            "Tags": tags,
        },
        by_boto3=True,
    )


def patch_note(server: str, several: bool = False) -> str:
    """A line about an image that AWS does not mend any more; "" for others.

    Args:
        several: it serves several bundles, which --image ray cannot.
    """
    if server != "torchserve":
        return ""
    instead = "an image of your own (docs/hosting.md) has neither fault" if several else "take --image ray"
    return (
        "note:     AWS patches its TorchServe images no more (since 2026-06-30), and TorchServe has no maintainers:"
        f" {instead}"
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
            "SupportedRealtimeInferenceInstanceTypes": spec.machines,
            "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": metrics_uri}}},
        "ModelCard": {"ModelCardContent": card, "ModelCardStatus": "Draft"},
        "CustomerMetadataProperties": {"bundle_sha256": spec.sha256} if spec.sha256 else {},
    }
    return AwsRequest.checked("ModelPackage", parameters, by_boto3=True)


def _check_serverless(spec: HostingSpec, settings: AwsSettings) -> None:
    if settings.region.startswith(_NO_SERVERLESS):
        raise ThoraxError(
            f"--serverless in {settings.region}: AWS has no serverless inference in the GovCloud, isolated and China"
            " regions; take a real-time endpoint, or --async with --autoscale 0,N"
        )
    if spec.provisioned > spec.concurrency:
        raise ThoraxError(
            f"--provisioned {spec.provisioned} is above --concurrency {spec.concurrency}; raise that, or lower this"
        )
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
