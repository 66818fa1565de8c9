"""What AWS gets: a call and its parameters as AWS names them; printed, checked against AWS's own model, sent."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax_launch.paths import LAUNCH
from thorax_launch.sagemaker.schema import input_shape, problems
from thorax_launch.settings import RESERVED, AwsSettings

if TYPE_CHECKING:
    import boto3

#: Key of the tag that only this project sets; --tag refuses every key that begins so (thorax_launch.settings).
MARK = f"{RESERVED}made-by"


@dataclass(frozen=True)
class AwsRequest:
    """One call that makes something on AWS.

    Attributes:
        resource: class in sagemaker.core.resources, such as TrainingJob.
        parameters: of the call Create<resource>, as AWS names them.
        by_boto3: sent by boto3, where the SDK misspells or lacks a field.
    """

    resource: str
    parameters: Mapping[str, Any]
    by_boto3: bool = False

    @classmethod
    def checked(cls, resource: str, parameters: Mapping[str, Any], by_boto3: bool = False) -> AwsRequest:
        """The request without parameters that are None or empty, held against AWS's model.

        Raises:
            ThoraxError: AWS would refuse it; names the field.
        """
        request = cls(resource, without_empty(parameters), by_boto3)
        check_parameters(request.operation, request.parameters)
        return request

    @property
    def operation(self) -> str:
        """AWS's name of the call."""
        return f"Create{self.resource}"

    def send(self, session: boto3.Session) -> None:
        """Makes it. Errors are botocore's; that a thing cannot be described once it is made is not one."""
        from botocore import xform_name
        from botocore.exceptions import ClientError
        from sagemaker.core import resources
        from sagemaker.core.utils.code_injection.codec import transform

        if self.by_boto3:
            getattr(session.client("sagemaker"), xform_name(self.operation))(**self.parameters)
            return
        arguments = transform(dict(self.parameters), input_shape(self.operation).name)
        try:
            getattr(resources, self.resource).create(session=session, region=session.region_name, **arguments)
        except ClientError as error:
            if error.operation_name == self.operation:
                raise


def check_parameters(operation: str, parameters: Mapping[str, Any], where: str = "") -> None:
    """Raises ThoraxError, which begins with `where`, for the first parameter that AWS would refuse."""
    if problem := next(problems(input_shape(operation), parameters), None):
        raise ThoraxError(f"{where}{problem}")


def without_empty(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are neither None nor an empty text, list or mapping."""
    return {name: value for name, value in parameters.items() if value is not None and value not in ("", [], {})}


def ordered(parameters: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The parameters with these names first, in this order."""
    return {**{name: parameters[name] for name in names if name in parameters}, **parameters}


def vpc(settings: AwsSettings) -> dict[str, list[str]] | None:
    """AWS's VpcConfig; None outside a VPC."""
    if not settings.subnets:
        return None
    return {"SecurityGroupIds": list(settings.security_groups), "Subnets": list(settings.subnets)}


def tags(settings: AwsSettings, **own: str) -> list[dict[str, str]]:
    """Project and `own`, then the user's tags, which win, then the mark, which nothing replaces; none that is empty."""
    values = {"project": "thorax", **own, **settings.tags, **own_marks()}
    return [{"Key": key, "Value": value} for key, value in values.items() if value]


def own_marks() -> dict[str, str]:
    """The tag that says that this project made a thing: `thorax delete` and `thorax status` go by it alone."""
    return {MARK: "thorax"}


def commit() -> str:
    """The git commit of this code, "-changed" where files differ from it; empty outside a repository."""
    words = ["git", "-C", str(LAUNCH), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-changed"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if re.fullmatch(r"[0-9a-f]{40}(-changed)?", done.stdout.strip()) else ""
