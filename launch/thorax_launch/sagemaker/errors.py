"""AWS's errors: each becomes one line that says what to do; "does not exist" is not always an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.settings import AwsSettings


@contextmanager
def one_line_errors(settings: AwsSettings, unsure: str = "") -> Iterator[None]:
    """Turns what botocore raises into a ThoraxError that says what to do; `unsure` is added where no answer came."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except Boto3Error as error:  # of an upload or a download; what went wrong is in what it was raised over
        cause = error.__context__ if isinstance(error.__context__, ClientError) else None
        words = explained(cause.response.get("Error", {}), cause.operation_name, settings) if cause else one_line(error)
        raise ThoraxError(words) from None
    except ClientError as error:
        raise ThoraxError(explained(error.response.get("Error", {}), error.operation_name, settings)) from None
    except BotoCoreError as error:
        name = type(error).__name__
        if "Credential" in name or "Token" in name or "SSO" in name:
            raise ThoraxError(
                f"AWS credentials: {error}; run `aws configure` or `aws sso login`, or give --profile"
            ) from None
        raise ThoraxError(
            f"AWS cannot be reached: {one_line(error)}; check network, --region {settings.region} and VPC"
            f" endpoints{unsure}"
        ) from None


def one_line(text: Any) -> str:
    """A text, or an error's, without line breaks."""
    return " ".join(str(text).split())


def failure_reason(described: Mapping[str, Any]) -> str:
    """Why a job or endpoint failed, as its description says it; of a processing job also its own last words."""
    words = [one_line(described[key]) for key in ("FailureReason", "ExitMessage") if described.get(key)]
    return ": ".join(words) or "no reason given"


def if_there(call: Callable[[], Any]) -> Any:
    """What the call returns, or None where AWS answers that there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as error:
        if not_there(error):
            return None
        raise


#: How AWS's calls say that there is no such thing, in lower case.
_NOT_THERE = ("could not find", "does not exist", "resource not found", "no scalable target found", "resourcenotfound")
#: How CreateX says that the name is taken, in lower case.
_TAKEN = ("already exist", "resourceinuse", "must be unique")
_BUSY = ("ThrottlingException", "Throttling", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException")


def not_there(error: Exception) -> bool:
    """Whether AWS answers that there is no such thing."""
    return any(words in str(error).lower() for words in _NOT_THERE)


def taken(error: BaseException) -> bool:
    """Whether AWS answers that there is a thing of that name already."""
    return any(words in str(error).lower() for words in _TAKEN)


def busy(error: Any) -> bool:
    """Whether AWS answers that it is asked too often, or has a fault of its own: later it may answer."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    return code in _BUSY or status >= 500


def explained(error: Mapping[str, Any], operation: str, settings: AwsSettings) -> str:
    """One line for an error that AWS returned: its own words, and what to do."""
    code, message = str(error.get("Code", "")), one_line(error.get("Message", ""))
    advice = _advice(code, message.lower(), settings)
    return f"{operation}: {code}: {message.rstrip('.')}; {advice}"


def _advice(code: str, message: str, settings: AwsSettings) -> str:
    bucket, region = settings.bucket, settings.region
    if code == "ResourceLimitExceeded":
        page = f"https://{region}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas"
        return f"ask for more at {page} (search the quota that is named above), or choose another --instance-type"
    if code in ("NoSuchBucket", "404"):
        return f"bucket {bucket} does not exist: make it (aws s3 mb s3://{bucket} --region {region}) or give --bucket"
    if (
        code in ("NoSuchEntity", "NoSuchEntityException")
        or "assume" in message
        or ("role" in message and code == "ValidationException")
    ):
        return (
            f"role {settings.role or '(none)'} must exist and trust sagemaker.amazonaws.com: docs/aws.md, step 3, or"
            " give --role"
        )
    if ("ccess" in code and "enied" in code) or code in ("403", "UnauthorizedOperation"):
        return f"your user lacks a permission: `{command('iam')} launcher` prints the policy that this needs"
    if code in _BUSY:
        return "AWS is busy; it was tried ten times; wait some minutes"
    if code == "ResourceInUse":
        return "the name is taken: give another --job-name"
    if "xpired" in code or "xpired" in message or code in ("UnrecognizedClientException", "InvalidClientTokenId"):
        return "your credentials are not valid any more: run `aws sso login` or `aws configure`"
    return "see docs/aws.md"
