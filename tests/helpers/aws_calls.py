"""The account of the AWS tests, and whether a call is one that the policy of `thorax iam launcher` allows there."""

from __future__ import annotations

import functools
from typing import Any

REGION, ACCOUNT, BUCKET = "eu-central-1", "123456789012", "films"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/thorax-execution"
#: Where the tests' images lie, as `thorax iam launcher --read` is told.
READ = [f"s3://{BUCKET}/{folder}" for folder in ("test", "train", "chest", "images")]
#: The tests' pipelines that are not named thorax-*, as it is told by --pipeline.
PIPELINES = ["chain", "chest"]


def assert_allowed(calls: list[tuple[str, str, dict[str, Any]]], tags: dict[str, dict[str, str]] | None = None) -> None:
    """Every call was one that the launcher's policy allows, on what it asks for, by a simulator of IAM.

    Args:
        calls: (service, operation, parameters) in order.
        tags: ARN -> tags of what was there before them.
    """
    from iam_simulator import Account, allowed

    policy, account = launchers_policy(), Account(REGION, ACCOUNT, tags=dict(tags or {}))
    for service, operation, parameters in calls:
        for action, resource, context in account.questions(service, operation, parameters):
            assert allowed(policy, action, resource, context), (
                f"{action} on {resource} with {dict(context)} is not in the launcher's policy"
            )


@functools.cache
def launchers_policy() -> dict[str, Any]:
    from thorax_launch.sagemaker.policies import Reach, launcher
    from thorax_launch.settings import AwsSettings

    settings = AwsSettings(region=REGION, role=ROLE, bucket=BUCKET, kms_key="alias/films")
    return launcher(settings, Reach(READ, pipelines=PIPELINES))
