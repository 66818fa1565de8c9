"""The account: sessions and clients, what SDK and session know of the settings, AWS's errors in one line."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax_launch.settings import AwsSettings, Resolved, pairs, read_file, resolve

if TYPE_CHECKING:
    import boto3

#: Stand for the account and, where none is set, the region, where nothing may be asked (--dry-run).
NO_ACCOUNT = "000000000000"
SOME_REGION = "us-east-1"
STAND_IN = "stand-in: AWS is not asked now"
NO_REGION = "no region: give --region, put region into thorax.yaml, or set AWS_DEFAULT_REGION"
RETRIES: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 10}}


def settings(args: Namespace, some_region: str = SOME_REGION) -> Resolved:
    """The settings of a command line. With --dry-run or --explain-settings nothing is asked of AWS: what only AWS
    knows (account, bucket, role) is then a stand-in with twelve zeros, and its origin says so.

    Args:
        some_region: stands there for a region that is set nowhere; "" for none.

    Raises:
        ThoraxError: a wrong setting, no region, no role, or AWS does not answer.
    """
    offline = args.dry_run or args.explain_settings
    given = {name: getattr(args, name, None) for name in (f.name for f in dataclasses.fields(AwsSettings))}
    flags = {**given, "tags": pairs("--tag", args.tag), "prices": str(args.prices or "")}
    sources = [("flags", flags), read_file(args.settings), _sdk(offline)]
    known = resolve(sources).settings
    session = open_session(known)
    region, source = known.region or session.region_name, "AWS session"
    if not region and offline:
        region, source = some_region, STAND_IN
    if not region:
        raise ThoraxError(f"{NO_REGION}; or add --local to run on this machine, without AWS")
    if source == STAND_IN and not args.explain_settings:
        print(f"note: no region is set; {region} stands for it: give --region", file=sys.stderr)
    known = dataclasses.replace(known, region=region)
    role, account = (_stand_in(known.role), "") if offline else _asked(session, known)
    account = account or role.split(":")[4]
    note = STAND_IN if account == NO_ACCOUNT else "AWS session"
    found = resolve(
        [*sources, (source, {"region": region}), (note, {"role": role, "bucket": f"sagemaker-{region}-{account}"})]
    )
    return Resolved(dataclasses.replace(found.settings, role=role), found.origins)


def place(profile: str, region: str) -> AwsSettings:
    """Where to look: profile and region by flag, ./thorax.yaml or session; for commands that only ask.

    Raises:
        ThoraxError: no region.
    """
    sources = [("flags", {"profile": profile, "region": region}), read_file(None)]
    found = resolve(
        [*sources, ("AWS session", {"region": open_session(resolve(sources).settings).region_name})]
    ).settings
    if not found.region:
        raise ThoraxError(NO_REGION)
    return found


def _sdk(offline: bool) -> tuple[str, dict[str, Any]]:
    """What the SageMaker SDK's config.yaml has for training jobs and sessions."""
    from sagemaker.core.config.config_manager import SageMakerConfig

    files = [os.environ.get(key, "") for key in ("SAGEMAKER_ADMIN_CONFIG_OVERRIDE", "SAGEMAKER_USER_CONFIG_OVERRIDE")]
    if offline and (remote := [file for file in files if file.startswith("s3://")]):
        return f"SDK config {remote[0]} (not read: --dry-run)", {}
    for name in ("sagemaker.config", "sagemaker.core"):
        logging.getLogger(name).setLevel(logging.WARNING)
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
    """The role's ARN as far as it can be known without asking."""
    return role if role.startswith("arn:") else f"arn:aws:iam::{NO_ACCOUNT}:role/{role or 'ROLE'}"


def _asked(session: boto3.Session, known: AwsSettings) -> tuple[str, str]:
    """(the role's ARN, the account or "" where the ARN tells it), asking AWS only for what is not known."""
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
    """The AWS session of these settings; asks nothing of AWS.

    Raises:
        ThoraxError: there is no such profile.
    """
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


@contextmanager
def one_line_errors(known: AwsSettings, unsure: str = "") -> Iterator[None]:
    """Turns what botocore raises into a ThoraxError that says what to do; `unsure` is added where no answer came."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise ThoraxError(told(error.response.get("Error", {}), error.operation_name, known)) from None
    except BotoCoreError as error:
        name = type(error).__name__
        if "Credential" in name or "Token" in name or "SSO" in name:
            raise ThoraxError(
                f"AWS credentials: {error}; run `aws configure` or `aws sso login`, or give --profile"
            ) from None
        raise ThoraxError(
            f"AWS cannot be reached: {' '.join(str(error).split())}; check network, --region {known.region} and VPC"
            f" endpoints{unsure}"
        ) from None


def told(error: Mapping[str, Any], operation: str, known: AwsSettings) -> str:
    """One line for an error that AWS returned: its own words, and what to do."""
    code, words = str(error.get("Code", "")), " ".join(str(error.get("Message", "")).split())
    if code == "ResourceLimitExceeded":
        where = f"https://{known.region}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas"
        advice = f"ask for more at {where} (search the quota that is named above), or choose another --instance-type"
    elif code in ("NoSuchBucket", "404"):
        advice = (
            f"bucket {known.bucket} does not exist: make it (aws s3 mb s3://{known.bucket} --region {known.region}) or"
            " give --bucket"
        )
    elif (
        code in ("NoSuchEntity", "NoSuchEntityException")
        or "assume" in words.lower()
        or ("role" in words.lower() and code == "ValidationException")
    ):
        advice = (
            f"role {known.role or '(none)'} must exist and trust sagemaker.amazonaws.com: docs/aws.md, step 3, or give"
            " --role"
        )
    elif ("ccess" in code and "enied" in code) or code in ("403", "UnauthorizedOperation"):
        advice = "your user lacks a permission: `python launch/iam.py launcher` prints the policy that this needs"
    elif code in ("ThrottlingException", "Throttling", "RequestLimitExceeded", "SlowDown"):
        advice = "AWS is busy; it was tried ten times; wait some minutes and run the same command again"
    elif code == "ResourceInUse":
        advice = "the name is taken: give another --job-name"
    elif "xpired" in code or code in ("UnrecognizedClientException", "InvalidClientTokenId"):
        advice = "your credentials are not valid any more: run `aws sso login` or `aws configure`"
    else:
        advice = "see docs/aws.md"
    return f"{operation}: {code}: {words.rstrip('.')}; {advice}"
