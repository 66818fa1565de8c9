"""Autoscaling of endpoints: the calls that set it up, and the names of what belongs to it."""

from __future__ import annotations

from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.hosting import HostingSpec
from thorax_launch.sagemaker.requests import own_marks

#: Stands in the alarm of `autoscaling` for what AWS answers to the put_scaling_policy before it.
POLICY_ARN = "PolicyARN of the step scaling policy"
#: What application-autoscaling calls endpoints, and the number of their machines.
NAMESPACE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
#: Every alarm and scaling policy of ours begins so: by it the launcher's policy knows them.
PREFIX = "thorax-"


def autoscaling(spec: HostingSpec, lowest: int, highest: int, per_minute: float) -> list[tuple[str, dict[str, Any]]]:
    """Calls of boto3's application-autoscaling: from `lowest` to `highest` instances, `per_minute` requests each.

    From 0, tracking alone waits for more than `per_minute` requests; there a second policy and cloudwatch's
    put_metric_alarm wake the first instance.

    Raises:
        ThoraxError: serverless endpoints scale by themselves; or the limits make no sense.
    """
    if spec.kind == "serverless":
        raise ThoraxError("--autoscale with a serverless endpoint: it scales by itself; leave it out")
    least = 0 if spec.kind == "async" else 1
    if not least <= lowest <= highest:
        raise ThoraxError(f"--autoscale {lowest},{highest}: give lowest,highest with {least} <= lowest <= highest")
    target, dimension = scaling_target(spec.endpoint_name), {"Name": "EndpointName", "Value": spec.endpoint_name}
    if spec.kind == "async":
        metric: dict[str, Any] = {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Statistic": "Average",
                "Dimensions": [dimension],
            }
        }
    else:
        metric = {"PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}}
    tracking = {"TargetValue": per_minute, "ScaleInCooldown": 300, "ScaleOutCooldown": 60, **metric}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("register_scalable_target", {**target, "MinCapacity": lowest, "MaxCapacity": highest, "Tags": own_marks()}),
        _scaling_policy(target, f"{PREFIX}{spec.endpoint_name}-load", "TargetTrackingScaling", tracking),
    ]
    if lowest:
        return calls
    step = {
        "AdjustmentType": "ChangeInCapacity",
        "MetricAggregationType": "Average",
        "Cooldown": 300,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }
    alarm = {
        "AlarmName": wake(spec.endpoint_name),
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Statistic": "Average",
        "Period": 60,
        "Dimensions": [dimension],
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [POLICY_ARN],
    }
    policy = _scaling_policy(target, wake(spec.endpoint_name), "StepScaling", step)
    return [*calls, policy, ("put_metric_alarm", alarm)]


def _scaling_policy(
    target: dict[str, str], name: str, kind: str, configuration: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    policy = {**target, "PolicyName": name, "PolicyType": kind, f"{kind}PolicyConfiguration": configuration}
    return "put_scaling_policy", policy


def scaling_target(endpoint: str, variant: str = "main") -> dict[str, str]:
    """What application-autoscaling calls the machines of an endpoint."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": DIMENSION,
    }


def wake(endpoint: str) -> str:
    """Name of the policy that takes an asynchronous endpoint from 0 instances to 1, and of its alarm."""
    return f"{PREFIX}{endpoint}-wake"


def errors(endpoint: str) -> str:
    """Name of the alarm that rolls an update of an endpoint back: its container answers with 5xx."""
    return f"{PREFIX}{endpoint}-errors"
