"""The CloudFormation stack of a web page, as `sam deploy` makes it of launch/web/template.yaml: how it goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.waiting import Waiting
from thorax_launch.invocation import command
from thorax_launch.sagemaker import status
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.endings import StoppedError, Terminated
from thorax_launch.sagemaker.errors import if_there, one_line, one_line_errors
from thorax_launch.settings import AwsSettings

#: How the description of the template begins, by which a stack is known to be a page's.
DESCRIPTION = "Thorax: a web page"
GONE, FAILED = "DELETE_COMPLETE", "DELETE_FAILED"


@dataclass(frozen=True)
class WebStack:
    """A stack that is there.

    Attributes:
        name: its name.
        id: its ARN, by which it is found after it is gone.
        status: AWS's word for its state.
        resources: what goes with it, kind and name each.
    """

    name: str
    id: str
    status: str
    resources: tuple[str, ...]

    def lines(self) -> list[str]:
        """What would go, a line each."""
        return [f"to delete: {what}" for what in (f"stack {self.name}", *self.resources)]


def found(name: str, settings: AwsSettings) -> WebStack | None:
    """The stack of that name, checked to be one that may go; None: there is none.

    Raises:
        ThoraxError: it is something else's, protected, or being changed; or AWS refuses.
    """
    cloud = client(open_session(settings), "cloudformation")
    with _one_line(name, settings):
        described = if_there(lambda: cloud.describe_stacks(StackName=name))
        if described is None or (stack := described["Stacks"][0])["StackStatus"] == GONE:
            return None
        _check(stack, settings)
        pages = cloud.get_paginator("list_stack_resources").paginate(StackName=stack["StackId"])
        resources = [one for page in pages for one in page["StackResourceSummaries"] if one["ResourceStatus"] != GONE]
    named = tuple(
        f"{one['ResourceType'].removeprefix('AWS::')} {one.get('PhysicalResourceId', one['LogicalResourceId'])}"
        for one in resources
    )
    return WebStack(stack["StackName"], stack["StackId"], stack["StackStatus"], named)


def _check(stack: dict[str, Any], settings: AwsSettings) -> None:
    """Raises ThoraxError where a stack must not be deleted here, or AWS would not."""
    name, status = stack["StackName"], stack["StackStatus"]
    told = one_line(stack.get("Description", ""))
    if not told.startswith(DESCRIPTION):
        raise ThoraxError(
            f"--web {name}: that stack is no web page of ours: its description is {told[:80] or 'empty'!r}, not"
            f" {DESCRIPTION!r}...; name the stack that `sam deploy` made of launch/web/template.yaml"
        )
    if stack.get("EnableTerminationProtection"):
        raise ThoraxError(
            f"--web {name}: that stack is protected from deletion; to lift that: aws cloudformation"
            f" update-termination-protection --no-enable-termination-protection --stack-name {name}"
            f" --region {settings.region}"
        )
    if "UPDATE" in status and status.endswith("IN_PROGRESS"):
        raise ThoraxError(f"--web {name}: that stack is being changed ({status}); once that has ended, try again")


def delete(stack: WebStack, settings: AwsSettings) -> None:
    """Deletes a stack and waits until all of it is gone. Where a part cannot go, the same command tries again.

    Raises:
        ThoraxError: a part cannot be deleted; the line says which and why.
        StoppedError: Ctrl-C or a signal; AWS goes on.
    """
    cloud = client(open_session(settings), "cloudformation")
    try:
        with _one_line(stack.name, settings):
            cloud.delete_stack(StackName=stack.id)
            ended = _ended(stack, cloud)
    except (KeyboardInterrupt, Terminated) as error:
        again = f"{command('delete')} --web {stack.name}"
        left = f"what AWS has begun to delete of stack {stack.name} goes on; to see: {again}"
        raise StoppedError(left, error) from None
    if ended["StackStatus"] == FAILED:
        raise ThoraxError(
            f"stack {stack.name} is not gone: {one_line(ended.get('StackStatusReason', 'no reason given'))};"
            f" {_left(stack, settings)}; then {command('delete')} --web {stack.name} once more"
        )


def _ended(stack: WebStack, cloud: Any) -> dict[str, Any]:
    """Its description once AWS has deleted it, or given that up."""

    def describe() -> dict[str, Any]:
        described = if_there(lambda: cloud.describe_stacks(StackName=stack.id))
        stacks: list[dict[str, Any]] = described["Stacks"] if described else [{"StackStatus": GONE}]
        return stacks[0]

    shown = ""
    with Waiting(f"stack {stack.name}") as waiting:
        while True:  # a stack that could not be deleted says so until AWS has taken up the new call
            now = describe()
            state = now["StackStatus"]
            if state != shown:
                waiting.say(f"deleted stack {stack.name}" if state == GONE else f"stack {stack.name}: {state}")
                shown = state
            if state in (GONE, FAILED):
                return now
            waiting.update(note=state)
            waiting.pause(status.POLL)


def _left(stack: WebStack, settings: AwsSettings) -> str:
    """The parts that could not be deleted, and AWS's reasons."""
    cloud = client(open_session(settings), "cloudformation")
    with _one_line(stack.name, settings):
        pages = cloud.get_paginator("list_stack_resources").paginate(StackName=stack.id)
        parts = [one for page in pages for one in page["StackResourceSummaries"] if one["ResourceStatus"] == FAILED]
    told = [
        f"{one['ResourceType'].removeprefix('AWS::')} {one.get('PhysicalResourceId', one['LogicalResourceId'])}"
        f" ({one_line(one.get('ResourceStatusReason', 'no reason given'))})"
        for one in parts
    ]
    return f"see to {', '.join(told)}" if told else "its events are in the CloudFormation console"


@contextmanager
def _one_line(name: str, settings: AwsSettings) -> Iterator[None]:
    """AWS's errors as one line; one of missing rights says which are needed, which `thorax iam` does not give."""
    from botocore.exceptions import ClientError

    with one_line_errors(settings):
        try:
            yield
        except ClientError as error:
            if "AccessDenied" not in error.response.get("Error", {}).get("Code", ""):
                raise
            raise ThoraxError(
                f"--web {name}: {error.operation_name}: {one_line(error.response['Error'].get('Message', ''))}; a web"
                " page's stack needs the rights of whoever ran `sam deploy`: CloudFormation, and to delete its Lambda,"
                " role, API and log group"
            ) from None
