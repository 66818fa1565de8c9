"""`thorax delete --web STACK`: the stack of a web page goes, no other, and what stays is told.

botocore checks every call against CloudFormation's own model; moto has that service only with packages of its own.
The rights are those of whoever ran `sam deploy`, not the launcher's policy: `aws.own` is empty.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from thorax_launch.cli import delete

Capture = pytest.CaptureFixture[str]
PAGE = "Thorax: a web page that asks a SageMaker endpoint about chest X-rays."
RIGHTS = {"DescribeStacks", "ListStackResources", "DeleteStack"}


@pytest.fixture(autouse=True)
def at_once(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    aws.own = []


class Cloud:
    """CloudFormation's stacks, by its rules: one that is gone is found by its ARN alone."""

    def __init__(self, aws: Any) -> None:
        self.aws, self.stacks, self.looks = aws, {}, {}
        for call in ("DescribeStacks", "ListStackResources", "DeleteStack"):
            aws.answers[call] = getattr(self, call)

    def add(self, name: str, description: str = PAGE, **more: Any) -> str:
        """A stack of a log group and a function; its ARN."""
        arn = f"arn:aws:cloudformation:eu-central-1:123456789012:stack/{name}/1"
        about = {"StackName": name, "StackId": arn, "Description": description, "StackStatus": "CREATE_COMPLETE"}
        logs = {"ResourceType": "AWS::Logs::LogGroup", "PhysicalResourceId": f"/aws/lambda/{name}"}
        function = {"ResourceType": "AWS::Lambda::Function", "PhysicalResourceId": f"{name}-Page-1"}
        parts = [{**one, "LogicalResourceId": "X", "ResourceStatus": "CREATE_COMPLETE"} for one in (logs, function)]
        self.stacks[arn] = {**about, **more, "parts": parts, "becomes": ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]}
        return arn

    def asked(self) -> dict[str, Any]:
        """The stack that the call in progress names."""
        name = self.aws.calls[-1][2]["StackName"]
        for arn, stack in self.stacks.items():
            if name == arn or (name == stack["StackName"] and stack["StackStatus"] != "DELETE_COMPLETE"):
                return stack
        words = f"Stack with id {name} does not exist"
        raise ClientError({"Error": {"Code": "ValidationError", "Message": words}}, self.aws.calls[-1][1])

    def DescribeStacks(self, _: Any) -> dict[str, Any]:  # noqa: N802
        stack = self.asked()
        if stack.get("going"):
            stack["StackStatus"] = stack["becomes"].pop(0)
        return {"Stacks": [stack]}

    def ListStackResources(self, _: Any) -> dict[str, Any]:  # noqa: N802
        return {"StackResourceSummaries": self.asked()["parts"]}

    def DeleteStack(self, _: Any) -> dict[str, Any]:  # noqa: N802
        self.asked()["going"] = True
        return {}


@pytest.fixture
def cloud(aws: Any) -> Cloud:
    return Cloud(aws)


def test_a_pages_stack_is_deleted_with_all_that_it_is_made_of(aws: Any, cloud: Cloud, capsys: Capture) -> None:
    page, other = cloud.add("page"), cloud.add("other", "Somebody else's")
    shown = ["stack page", "Logs::LogGroup /aws/lambda/page", "Lambda::Function page-Page-1"]
    shown = [f"to delete: {what}" for what in shown]
    assert delete.main(["--web", "page", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == shown
    assert "DeleteStack" not in aws.operations
    assert delete.main(["--web", "page", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [*shown, "stack page: DELETE_IN_PROGRESS", "deleted stack page"]
    assert aws.operations == RIGHTS
    assert aws.sent("DeleteStack") == [{"StackName": page}]
    assert cloud.stacks[other]["StackStatus"] == "CREATE_COMPLETE"
    assert delete.main(["--web", "page", "--yes"]) == 0  # what is asked for is so already
    assert capsys.readouterr().out == "there is no stack page in eu-central-1\n"


def test_what_is_gone_of_it_is_not_listed(cloud: Cloud, capsys: Capture) -> None:
    stack = cloud.stacks[cloud.add("page", StackStatus="DELETE_FAILED")]
    stack["parts"][0]["ResourceStatus"] = "DELETE_COMPLETE"
    assert delete.main(["--web", "page", "--dry-run"]) == 0
    assert "LogGroup" not in capsys.readouterr().out
    assert delete.main(["--web", "page", "--yes"]) == 0  # the same command goes on
    assert capsys.readouterr().out.splitlines()[-1] == "deleted stack page"


def test_only_a_terminal_may_be_asked(aws: Any, cloud: Cloud, capsys: Capture) -> None:
    cloud.add("page")
    assert delete.main(["--web", "page"]) == 1
    assert capsys.readouterr().err == (
        "error: no terminal to confirm on: give --yes to go ahead, or --dry-run to look only\n"
    )
    assert "DeleteStack" not in aws.operations


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"Description": ""}, "that stack is no web page of ours"),
        ({"Description": "Our shop"}, "that stack is no web page of ours"),
        ({"Description": f"A copy of {PAGE}"}, "that stack is no web page of ours"),
        ({"EnableTerminationProtection": True}, "update-termination-protection --no-enable"),
        ({"StackStatus": "UPDATE_IN_PROGRESS"}, "is being changed (UPDATE_IN_PROGRESS)"),
        ({"StackStatus": "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"}, "is being changed"),
    ],
)
@pytest.mark.parametrize("more", [["--yes"], ["--dry-run"]])
def test_another_stack_is_left_alone(
    aws: Any, cloud: Cloud, capsys: Capture, about: dict[str, Any], expected: str, more: list[str]
) -> None:
    cloud.stacks[cloud.add("shop")] |= about
    assert delete.main(["--web", "shop", *more]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: --web shop: ") and expected in line and line.count("\n") == 1
    assert "DeleteStack" not in aws.operations


def test_a_part_that_stays_is_named_with_its_reason(cloud: Cloud, capsys: Capture) -> None:
    reason = "The following resource(s) failed to delete: [Page]."
    stack = cloud.stacks[cloud.add("page", StackStatusReason=reason)]
    stack["becomes"] = ["DELETE_IN_PROGRESS", "DELETE_FAILED"]
    stack["parts"][1] |= {"ResourceStatus": "DELETE_FAILED", "ResourceStatusReason": "in use\nby an alias"}
    assert delete.main(["--web", "page", "--yes"]) == 1
    assert capsys.readouterr().err == (
        f"error: stack page is not gone: {reason}; see to Lambda::Function page-Page-1 (in use by an alias); then"
        " thorax delete --web page once more\n"
    )


def test_ctrl_c_says_what_goes_on(aws: Any, cloud: Cloud, capsys: Capture) -> None:
    def interrupt(_: Any) -> Any:
        raise KeyboardInterrupt

    cloud.add("page")
    aws.answers["DeleteStack"] = interrupt
    assert delete.main(["--web", "page", "--yes"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: stopped by Ctrl-C; what AWS has begun to delete of stack page goes on; to see: thorax delete --web page"
    )


@pytest.mark.parametrize("call", ["DescribeStacks", "ListStackResources", "DeleteStack"])
def test_rights_that_lack_are_those_of_sam_deploy(aws: Any, cloud: Cloud, capsys: Capture, call: str) -> None:
    def refuse(_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, call)

    cloud.add("page")
    aws.answers[call] = refuse
    assert delete.main(["--web", "page", "--yes"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"error: --web page: {call}: not authorized; ") and "sam deploy" in line


@pytest.mark.parametrize("words", [["--web", "page", "chest"], ["--web", "page", "--all"]])
def test_a_page_and_something_else(aws: Any, words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        delete.main(words)
    assert "choose one" in capsys.readouterr().err and not aws.calls
