"""Statements that policies are made of: the bucket and its folder, keys, secrets, logs, a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thorax.errors import ThoraxError
from thorax.secrets import service_of
from thorax_launch.settings import AwsSettings

#: CloudWatch's log groups of jobs, below /aws/sagemaker/; and those of endpoints too. Not those of notebooks.
JOB_LOGS = ("TrainingJobs", "ProcessingJobs", "TransformJobs")
LOGS = (*JOB_LOGS, "Endpoints/*")


def secret_rights(arn: dict[str, str], references: Sequence[str]) -> list[dict[str, Any]]:
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
    found = [allow(f"Read{_SERVICES[name]}", rights(name, calls[name]), where) for name, where in places.items()]
    if not found:
        return []
    via = {"StringEquals": {"kms:ViaService": [f"{name}.{arn['region']}.amazonaws.com" for name in places]}}
    key = f"arn:{arn['partition']}:kms:{arn['region']}:{arn['account']}:key/*"
    return [*found, allow("DecryptThem", ["kms:Decrypt"], [key], via)]


_SERVICES = {"secretsmanager": "Secrets", "ssm": "Parameters"}


def rights(service: str, calls: str) -> list[str]:
    """Calls of a service, by names with blanks between."""
    return [f"{service}:{call}" for call in calls.split()]


def named(arn: dict[str, str], kinds: str) -> list[str]:
    """Everything in the account of these kinds, by names with blanks between."""
    return [f"arn:{arn['partition']}:sagemaker:{arn['region']}:{arn['account']}:{kind}/*" for kind in kinds.split()]


def bucket_rights(sid: str, arn: dict[str, str]) -> list[dict[str, Any]]:
    """Listing the bucket's folder, and the objects below it."""
    objects = rights("s3", "GetObject PutObject AbortMultipartUpload DeleteObject")
    prefix = arn["objects"].removeprefix(f"{arn['bucket']}/")
    below = {} if prefix == "*" else {"StringLike": {"s3:prefix": [prefix]}}
    return [allow("SeeTheFolder", ["s3:ListBucket"], [arn["bucket"]], below), allow(sid, objects, [arn["objects"]])]


def pass_role(sid: str, settings: AwsSettings) -> dict[str, Any]:
    condition = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    return allow(sid, ["iam:PassRole"], [settings.role], condition)


def log_streams(arn: dict[str, str], names: Sequence[str] = LOGS) -> list[str]:
    """Log groups of SageMaker's by these names, and all streams in them."""
    below = f"arn:{arn['partition']}:logs:{arn['region']}:{arn['account']}:log-group:/aws/sagemaker/"
    return [f"{below}{name}{stream}" for name in names for stream in ("", ":log-stream:*")]


def network(settings: AwsSettings, arn: dict[str, str]) -> list[dict[str, Any]]:
    """What SageMaker does with a job's network interfaces, in the settings' subnets alone; empty without any."""
    if not settings.subnets:
        return []
    here = f"arn:{arn['partition']}:ec2:{arn['region']}:{arn['account']}"
    interfaces = [f"{here}:network-interface/*"]
    subnets = [f"{here}:subnet/{name}" for name in settings.subnets]
    groups = [f"{here}:security-group/{name}" for name in settings.security_groups]
    own = {"ArnEquals": {"ec2:Subnet": subnets}}
    permission = {**own, "StringEquals": {"ec2:AuthorizedService": "sagemaker.amazonaws.com"}}
    see = "DescribeNetworkInterfaces DescribeVpcs DescribeDhcpOptions DescribeSubnets DescribeSecurityGroups"
    end = "DeleteNetworkInterface DeleteNetworkInterfacePermission"
    return [
        allow("SeeTheNetwork", rights("ec2", see), ["*"]),
        allow("JoinTheNetwork", rights("ec2", "CreateNetworkInterface"), [*interfaces, *subnets, *groups]),
        allow("GiveInterfaces", rights("ec2", "CreateNetworkInterfacePermission"), interfaces, permission),
        allow("LeaveTheNetwork", rights("ec2", end), interfaces, own),
    ]


def elsewhere(addresses: Sequence[str], partition: str) -> list[dict[str, Any]]:
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
        found.append(allow(f"SeeImages{i}", ["s3:ListBucket"], [arn], condition))
        found.append(allow(f"ReadImages{i}", ["s3:GetObject"], [f"{arn}/{below}"]))
    return found


def arns(settings: AwsSettings) -> dict[str, str]:
    """Partition, account, region; the beginning of SageMaker's ARNs; the bucket; the objects below the prefix."""
    partition, account = settings.role.split(":")[1], settings.role.split(":")[4]
    bucket = f"arn:{partition}:s3:::{settings.bucket}"
    return {
        "partition": partition,
        "account": account,
        "region": settings.region,
        "sagemaker": f"arn:{partition}:sagemaker:{settings.region}:{account}",
        "bucket": bucket,
        "objects": "/".join(part for part in (bucket, settings.prefix.strip("/"), "*") if part),
    }


def keys(settings: AwsSettings, calls: str) -> list[dict[str, Any]]:
    """The use of the settings' keys: KMS's calls, by names with blanks between, and grants to machines.

    IAM knows a key by its ARN alone and takes no alias as a resource: an alias becomes every key of the account that
    has this alias.
    """
    arn = arns(settings)
    here = f"arn:{arn['partition']}:kms:{arn['region']}:{arn['account']}"
    named, by_alias, aliases = set(), set(), set()
    for key in (settings.kms_key, settings.volume_kms_key):
        if "alias/" in key:
            place, _, alias = key.rpartition("alias/")  # an alias's ARN may be of another account's
            by_alias.add(f"{place or here + ':'}key/*")
            aliases.add(f"alias/{alias}")
        elif key:
            named.add(key if key.startswith("arn:") else f"{here}:key/{key}")
    has_alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": sorted(aliases)}}
    return [*_use("UseTheKeys", calls, sorted(named), {}), *_use("UseKeysByAlias", calls, sorted(by_alias), has_alias)]


def _use(sid: str, calls: str, keys: list[str], condition: dict[str, Any]) -> list[dict[str, Any]]:
    """The use of keys by oneself, and by machines, which get a grant of it; empty without keys."""
    grant = {**condition, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    if not keys:
        return []
    return [
        allow(sid, rights("kms", calls), keys, condition),
        allow(f"{sid}OfMachines", ["kms:CreateGrant"], keys, grant),
    ]


def allow(
    sid: str, actions: list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": resources,
        **({"Condition": condition} if condition else {}),
    }


def document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
