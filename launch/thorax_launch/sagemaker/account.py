"""The account: sessions and clients, and the settings completed by what the SDK, the session and AWS know."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.settings import AwsSettings, Resolved, read_file, resolve

if TYPE_CHECKING:
    import boto3

#: Stand for the account and, where none is set, the region, where nothing may be asked (--dry-run).
NO_ACCOUNT = "000000000000"
SOME_REGION = "us-east-1"
STAND_IN = "stand-in: AWS is not asked now"
NO_REGION = "no region: give --region, put region into thorax.yaml, or set AWS_DEFAULT_REGION"
RETRIES: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 10}}
Sources = Sequence[tuple[str, Mapping[str, Any]]]


def load_settings(*, dry_run: bool = False, **given: Any) -> AwsSettings:
    """The settings of a project, as the commands find them.

    Each setting comes from the first of these that has it: `given`, ./thorax.yaml, the SageMaker SDK's config.yaml, the
    AWS session.

    Args:
        dry_run: ask nothing of AWS; what is not set (account, bucket, role) is a stand-in with twelve zeros.
        given: settings by name, such as bucket="my-images".

    Raises:
        ThoraxError: an unknown or wrong setting, no region, no role, or AWS does not answer.

    Examples:
        >>> settings = sagemaker.load_settings(bucket="my-images", tags={"team": "chest"})
    """
    return resolved([("settings", given), read_file(None)], offline=dry_run).settings


def completed(settings: AwsSettings | None, offline: bool = False) -> AwsSettings:
    """These settings, with region, role and bucket of the AWS session where they are not set; None: load_settings.

    Raises:
        ThoraxError: see load_settings.
    """
    if settings is None:
        return load_settings(dry_run=offline)
    return resolved([("settings", settings.given)], offline=offline, sdk=False).settings


def resolved(sources: Sources, *, offline: bool, some_region: str = SOME_REGION, sdk: bool = True) -> Resolved:
    """The settings of these sources, completed by the SDK's config.yaml, by the AWS session, and by AWS.

    Args:
        sources: the strongest first.
        offline: nothing is asked of AWS: what only AWS knows (account, bucket, role) is a stand-in with twelve zeros,
            and its origin says so.
        some_region: stands there for a region that is set nowhere; "" for none.
        sdk: read the SDK's config.yaml.

    Raises:
        ThoraxError: a wrong setting, no region, no role, or AWS does not answer.
    """
    sources = [*sources, *([_sdk(offline)] if sdk else [])]
    known = resolve(sources).settings
    session = open_session(known)
    region, source = known.region or session.region_name, "AWS session"
    if not region and offline:
        region, source = some_region, STAND_IN
    if not region:
        raise ThoraxError(NO_REGION)
    known = dataclasses.replace(known, region=region)
    role, account = (_stand_in(known.role), "") if offline else _asked(session, known)
    account = account or role.split(":")[4]
    note = STAND_IN if account == NO_ACCOUNT else "AWS session"
    found = resolve(
        [*sources, (source, {"region": region}), (note, {"role": role, "bucket": f"sagemaker-{region}-{account}"})]
    )
    return Resolved(dataclasses.replace(found.settings, role=role), found.origins)


def place(profile: str = "", region: str = "", file: Path | None = None) -> AwsSettings:
    """Where to look: profile and region by flag, settings file (./thorax.yaml) or session; for commands that only ask.

    Raises:
        ThoraxError: no region.
    """
    sources = [("flags", {"profile": profile, "region": region}), read_file(file)]
    session = ("AWS session", {"region": open_session(resolve(sources).settings).region_name})
    found = resolve([*sources, session]).settings
    if not found.region:
        raise ThoraxError(NO_REGION)
    return found


def quiet() -> None:
    """Silences the SDK's own INFO lines: one for each file that is not there."""
    for logger in ("sagemaker", "sagemaker.core", "sagemaker.config"):
        logging.getLogger(logger).setLevel(logging.ERROR)


def _sdk(offline: bool) -> tuple[str, dict[str, Any]]:
    """What the SageMaker SDK's config.yaml has for training jobs and sessions."""
    from sagemaker.core.config.config_manager import SageMakerConfig

    quiet()
    files = [os.environ.get(key, "") for key in ("SAGEMAKER_ADMIN_CONFIG_OVERRIDE", "SAGEMAKER_USER_CONFIG_OVERRIDE")]
    if offline and (remote := [file for file in files if file.startswith("s3://")]):
        return f"SDK config {remote[0]} (not read: --dry-run)", {}
    try:
        stored = SageMakerConfig().load_sagemaker_config()
    except Exception as error:  # jsonschema's, yaml's and boto3's: whatever is wrong with the user's file
        raise ThoraxError(f"SDK config.yaml: {str(error).splitlines()[0]}") from None
    job: Mapping[str, Any] = stored.get("SageMaker", {}).get("TrainingJob", {})
    session: Mapping[str, Any] = stored.get("SageMaker", {}).get("PythonSDK", {}).get("Modules", {}).get("Session", {})
    vpc = job.get("VpcConfig", {})
    return "SDK config.yaml", {
        "role": job.get("RoleArn"),
        "bucket": session.get("DefaultS3Bucket"),
        "prefix": session.get("DefaultS3ObjectKeyPrefix"),
        "subnets": vpc.get("Subnets"),
        "security_groups": vpc.get("SecurityGroupIds"),
        "kms_key": job.get("OutputDataConfig", {}).get("KmsKeyId"),
        "volume_kms_key": job.get("ResourceConfig", {}).get("VolumeKmsKeyId"),
        "network_isolation": job.get("EnableNetworkIsolation"),
        "encrypt_traffic": job.get("EnableInterContainerTrafficEncryption"),
        "tags": {tag["Key"]: tag["Value"] for tag in job.get("Tags", [])},
    }


def _stand_in(role: str) -> str:
    """The role's ARN as far as it is known without asking."""
    return role if role.startswith("arn:") else f"arn:aws:iam::{NO_ACCOUNT}:role/{role or 'ROLE'}"


def _asked(session: boto3.Session, known: AwsSettings) -> tuple[str, str]:
    """(the role's ARN, the account or "" where the ARN holds it), asking AWS only for what is not known."""
    if known.role.startswith("arn:") and known.bucket:
        return known.role, ""
    with one_line_errors(known):
        identity = client(session, "sts", known.region).get_caller_identity()
        role = known.role if known.role.startswith("arn:") else _role_arn(session, known.role, identity["Arn"])
    return role, str(identity["Account"])


def _role_arn(session: boto3.Session, role: str, caller: str) -> str:
    """ARN of the named role, or of the role that this notebook or machine runs under."""
    if not role and ":assumed-role/" not in caller:
        raise ThoraxError(
            f"no role: you are {caller}, and jobs need an execution role; give --role ARN or put role into thorax.yaml"
            " (docs/aws.md, step 3)"
        )
    found: str = client(session, "iam").get_role(RoleName=role or caller.split("/")[1])["Role"]["Arn"]
    return found


def open_session(known: AwsSettings) -> boto3.Session:
    """The AWS session of these settings; asks nothing of AWS. Raises ThoraxError: there is no such profile."""
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        return boto3.Session(profile_name=known.profile or None, region_name=known.region or None)
    except ProfileNotFound as error:
        raise ThoraxError(f"--profile: {error}; see `aws configure list-profiles`") from None


def client(session: boto3.Session, service: str, region: str | None = None) -> Any:
    """A client that takes throttling and lost connections up to ten times, with growing pauses."""
    from botocore.config import Config

    return session.client(service, region_name=region, config=Config(**RETRIES))
