"""Waiting for endpoints, and telling "is not there" from every other refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

POLL = 15.0
MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


def refused(call: Callable[[], Any]) -> Any:
    """What the call returns, or None where AWS says that there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as error:
        if "Could not find" in str(error) or "does not exist" in str(error):
            return None
        raise


def settled(sagemaker: Any, name: str, tell: bool = False) -> dict[str, Any]:
    """The description of an endpoint once it does not move any more. A lost line is botocore's to try ten times."""
    told = ""
    while True:
        found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
        status = found["EndpointStatus"]
        if tell and status != told:
            print(f"endpoint {name}: {status}", flush=True)
            told = status
        if status not in MOVING:
            return found
        time.sleep(POLL)
