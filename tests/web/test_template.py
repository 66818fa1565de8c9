"""The SAM template: cfn-lint finds nothing, and the Lambda may do nothing but ask its endpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

cfnlint = pytest.importorskip("cfnlint.api", reason="cfn-lint is in the extra dev")
TEMPLATE = (Path(__file__).resolve().parents[2] / "launch/web/template.yaml").read_text(encoding="utf-8")


class Plain(yaml.SafeLoader):
    """CloudFormation's short forms as {"!Sub": text}."""


Plain.add_multi_constructor("!", lambda loader, suffix, node: {f"!{suffix}": loader.construct_scalar(node)})


def problems(text: str) -> list[str]:
    config = cfnlint.ManualArgs(regions=["eu-west-1", "us-east-1"])
    return [f"{found.rule.id} {found.message}" for found in cfnlint.lint(text, config=config)]


@pytest.fixture(scope="module")
def page() -> Any:
    return yaml.load(TEMPLATE, Plain)["Resources"]["Page"]["Properties"]


def test_cfn_lint_finds_nothing():
    assert problems(TEMPLATE) == []


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("python3.13", "python2.7", "E2533"),
        ("RetentionInDays", "RetentionDays", "E3002"),
        ("MemorySize: 512", "MemorySize: 5", "E3034"),
    ],
)
def test_cfn_lint_does_look(right, wrong, expected):
    assert TEMPLATE.count(right) == 1
    assert any(found.startswith(expected) for found in problems(TEMPLATE.replace(right, wrong)))


def test_every_name_that_is_referred_to_is_there():
    """cfn-lint does not look at this once SAM's transform is in use."""
    whole = yaml.load(TEMPLATE, Plain)
    named = {*whole["Parameters"], *whole["Resources"]}
    referred = set(re.findall(r"!Ref (\w+)", TEMPLATE)) | {
        name for text in re.findall(r"!Sub (.*)", TEMPLATE) for name in re.findall(r"\$\{(\w+)\}", text)
    }
    assert referred == {
        "Api",
        "EndpointName",
        "AllowedOrigin",
        "Answer",
        "RequestsPerSecond",
        "Burst",
        "LogDays",
        "Logs",
    }
    assert referred <= named


def test_the_lambda_may_only_ask_its_endpoint(page):
    (policy,) = page["Policies"]
    (statement,) = policy["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "sagemaker:InvokeEndpoint",
        "Resource": {
            "!Sub": "arn:${AWS::Partition}:sagemaker:${AWS::Region}:${AWS::AccountId}:endpoint/${EndpointName}"
        },
    }


def test_the_handler_gives_up_before_the_lambda_and_that_before_the_api(page):
    assert int(page["Environment"]["Variables"]["TIMEOUT_S"]) + 3 < page["Timeout"] < 30


def test_the_template_names_the_handler(page):
    import handler

    assert page["Handler"] == f"handler.{handler.lambda_handler.__name__}"
