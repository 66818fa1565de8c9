"""What SageMaker does with the execution role for a request, as questions to IAM.

By the SageMaker Developer Guide, "How to use SageMaker execution roles": the sections "CreateTrainingJob API",
"CreateProcessingJob API", "CreateModel API: Execution Role Permissions" (S3, CloudWatch, ECR, and EC2 in a VPC), by
"Complete the prerequisites" of asynchronous inference (SNS), and by the KMS Developer Guide, "Services that use grants"
(a disk's key is granted, an object's key is used by the role).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Question = tuple[str, str, dict[str, Any]]
REGION, ACCOUNT = "eu-central-1", "123456789012"
#: Log groups, by what of a request tells its kind.
LOGS = {
    "TrainingJobName": "TrainingJobs",
    "TrainingJobDefinition": "TrainingJobs",
    "TransformJobName": "TransformJobs",
    "ProcessingJobName": "ProcessingJobs",
    "EndpointName": "Endpoints/chest",
}
PULL = ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage")
#: Fields whose address is read, with all below it; and those that are written.
READ = ("S3Uri", "ModelDataUrl")
WRITTEN = ("S3OutputPath", "S3FailurePath", "DestinationS3Uri")
#: Fields whose address is both, checkpoints and outputs.
BOTH = ("CheckpointConfig", "S3Output")
SEEN_IN_A_VPC = (
    *("DescribeNetworkInterfaces", "DescribeVpcs", "DescribeDhcpOptions", "DescribeSubnets", "DescribeSecurityGroups"),
)


def questions(request: Mapping[str, Any]) -> Iterator[Question]:
    """(action, resource, context) of every right that SageMaker needs for a request."""
    yield "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}
    for key, group in LOGS.items():
        if key in request:
            arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/{group}"
            yield "logs:CreateLogGroup", arn, {}
            yield "logs:DescribeLogStreams", arn, {}
            for call in ("CreateLogStream", "PutLogEvents"):
                yield f"logs:{call}", f"{arn}:log-stream:one/algo-1-1", {}
    yield from _fields(request, "")


def _fields(value: Any, above: str) -> Iterator[Question]:
    if isinstance(value, list):
        for one in value:
            yield from _fields(one, above)
    if not isinstance(value, Mapping):
        return
    for key, one in value.items():
        if isinstance(one, str) and one.startswith("s3://"):
            yield from _on_s3(key, one, above)
        elif isinstance(one, str) and one:
            yield from _on_others(key, one)
        elif key == "VpcConfig":
            yield from _in_a_vpc(one)
        yield from _fields(one, key)


def _in_a_vpc(config: Mapping[str, Any]) -> Iterator[Question]:
    """An interface is made in a subnet with the security groups, given to SageMaker, and deleted."""
    here = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
    yield from ((f"ec2:{call}", "*", {}) for call in SEEN_IN_A_VPC)
    interface = f"{here}:network-interface/eni-1"
    yield "ec2:CreateNetworkInterface", interface, {}
    for group in config["SecurityGroupIds"]:
        yield "ec2:CreateNetworkInterface", f"{here}:security-group/{group}", {}
    for subnet in config["Subnets"]:
        arn = f"{here}:subnet/{subnet}"
        yield "ec2:CreateNetworkInterface", arn, {}
        to_sagemaker = {"ec2:Subnet": arn, "ec2:AuthorizedService": "sagemaker.amazonaws.com"}
        yield "ec2:CreateNetworkInterfacePermission", interface, to_sagemaker
        for call in ("DeleteNetworkInterface", "DeleteNetworkInterfacePermission"):
            yield f"ec2:{call}", interface, {"ec2:Subnet": arn}


def _on_s3(key: str, address: str, above: str) -> Iterator[Question]:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    below = prefix if prefix.endswith("/") or "." in prefix.rpartition("/")[2] else f"{prefix}/"
    one = f"{arn}/{below}" if not below.endswith("/") else f"{arn}/{below}some/object"
    if key in READ:
        if below.endswith("/"):
            yield "s3:ListBucket", arn, {"s3:prefix": below}
        yield "s3:GetObject", one, {}
    if key in WRITTEN or above in BOTH:
        yield "s3:PutObject", one, {}
    if key not in (*READ, *WRITTEN, "sagemaker_submit_directory"):
        raise AssertionError(f"{above}.{key}: is {address} read or written?")


def _on_others(key: str, value: str) -> Iterator[Question]:
    if key in ("TrainingImage", "ImageUri", "Image") and ".dkr.ecr." in value:
        registry, _, name = value.partition("/")
        account, region = registry.split(".")[0], registry.split(".")[3]
        yield "ecr:GetAuthorizationToken", "*", {}
        repository = name.rpartition(":")[0]
        yield from ((f"ecr:{call}", f"arn:aws:ecr:{region}:{account}:repository/{repository}", {}) for call in PULL)
    if key in ("KmsKeyId", "VolumeKmsKeyId"):
        alias = {"kms:ResourceAliases": [value]} if value.startswith("alias/") else {}
        arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{'of-films' if alias else value}"
        for call in ("GenerateDataKey", "Decrypt", "DescribeKey"):
            yield f"kms:{call}", arn, alias
        yield "kms:CreateGrant", arn, {**alias, "kms:GrantIsForAWSResource": "true"}
    if key in ("SuccessTopic", "ErrorTopic"):
        yield "sns:Publish", value, {}
