"""CloudWatch's alarms of an endpoint: which of them these commands made. An alarm of the user's own is never replaced
or deleted, whatever its name."""

from __future__ import annotations

from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.autoscaling import errors, wake

#: Metric of an alarm of ours -> its name by the endpoint's; see autoscaling.autoscaling and rollouts.Rollout.
_NAMES = {"HasBacklogWithoutCapacity": wake, "Invocation5XXErrors": errors}


def endpoint_of(alarm: dict[str, Any]) -> str:
    """The endpoint of an alarm that these commands made; "" for any other alarm.

    Ours has the endpoint's name in its own, one metric of SageMaker, and, where it rolls an update back, no action.
    """
    found = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
    name, made = found.get("EndpointName", ""), _NAMES.get(alarm.get("MetricName", ""))
    if alarm.get("Namespace") != "AWS/SageMaker" or made is None or alarm["AlarmName"] != made(name):
        return ""
    acts = any(alarm.get(f"{state}Actions") for state in ("Alarm", "OK", "InsufficientData"))
    return "" if made is errors and acts else name


def there(name: str, session: Any) -> bool:
    """Whether an alarm of ours has that name.

    Raises:
        ThoraxError: an alarm of somebody else has it.
        botocore's errors: AWS refuses.
    """
    found = client(session, "cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    if any(not endpoint_of(alarm) for alarm in found):
        raise ThoraxError(
            f"there is an alarm {name} in CloudWatch, which this project did not make and would replace: rename it, or"
            " choose another --endpoint-name; an alarm that is to roll updates back is named by --alarm"
        )
    return bool(found)
