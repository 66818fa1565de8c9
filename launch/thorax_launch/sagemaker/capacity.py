"""How many machines an endpoint has and how it is autoscaled: read before an update, put back where that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.autoscaling import scaling_target, wake
from thorax_launch.sagemaker.status import settled

_TARGET = ("ServiceNamespace", "ResourceId", "ScalableDimension", "MinCapacity", "MaxCapacity")
_POLICY = (
    *("PolicyName", "ServiceNamespace", "ResourceId", "ScalableDimension", "PolicyType"),
    *("StepScalingPolicyConfiguration", "TargetTrackingScalingPolicyConfiguration"),
)


@dataclass(frozen=True)
class Capacity:
    """Of one endpoint.

    Attributes:
        endpoint_name: its name.
        counts: variant -> machines that it shall have; empty for a serverless one.
        weights: variant -> weight, of several variants.
        targets, policies: parameters of application-autoscaling's register_scalable_target and put_scaling_policy.
        wakes: whether it has the alarm that wakes it from 0 machines.
    """

    endpoint_name: str
    counts: Mapping[str, int]
    targets: tuple[dict[str, Any], ...]
    policies: tuple[dict[str, Any], ...]
    wakes: bool
    weights: Mapping[str, float]

    @classmethod
    def of(cls, endpoint_name: str, session: Any) -> Capacity:
        """As it is now. Errors are botocore's."""
        scaling, where = client(session, "application-autoscaling"), scaling_target(endpoint_name)
        targets = scaling.describe_scalable_targets(
            ServiceNamespace=where["ServiceNamespace"], ResourceIds=[where["ResourceId"]]
        )["ScalableTargets"]
        policies = _policies(scaling, endpoint_name) if targets else []
        alarms = client(session, "cloudwatch").describe_alarms(AlarmNames=[wake(endpoint_name)])["MetricAlarms"]
        return cls(
            endpoint_name,
            _counts(client(session, "sagemaker"), endpoint_name),
            tuple({key: found[key] for key in _TARGET} for found in targets),
            tuple({key: found[key] for key in _POLICY if key in found} for found in policies),
            bool(alarms),
            weights_of(client(session, "sagemaker").describe_endpoint(EndpointName=endpoint_name)),
        )

    def restore(self, session: Any, autoscaling: bool) -> None:
        """Makes it so again. Errors are botocore's.

        Args:
            autoscaling: whether that may have changed too.
        """
        if autoscaling:
            self._restore_autoscaling(client(session, "application-autoscaling"))
            if not self.wakes:
                client(session, "cloudwatch").delete_alarms(AlarmNames=[wake(self.endpoint_name)])
        sagemaker = client(session, "sagemaker")
        now = _counts(sagemaker, self.endpoint_name)
        changed: dict[str, dict[str, Any]] = {
            variant: {"DesiredInstanceCount": count}
            for variant, count in self.counts.items()
            if count and now.get(variant) != count
        }
        weights = weights_of(sagemaker.describe_endpoint(EndpointName=self.endpoint_name))
        for variant, weight in self.weights.items():
            if weights.get(variant) != weight:
                changed.setdefault(variant, {})["DesiredWeight"] = weight
        if not changed:
            return
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=self.endpoint_name,
            DesiredWeightsAndCapacities=[{"VariantName": variant, **values} for variant, values in changed.items()],
        )
        settled(sagemaker, self.endpoint_name)

    def _restore_autoscaling(self, scaling: Any) -> None:
        if not self.targets:
            scaling.deregister_scalable_target(**scaling_target(self.endpoint_name))  # its policies go with it
            return
        for target in self.targets:
            scaling.register_scalable_target(**target)
        for policy in self.policies:
            scaling.put_scaling_policy(**policy)
        known = {policy["PolicyName"] for policy in self.policies}
        for policy in _policies(scaling, self.endpoint_name):
            if policy["PolicyName"] not in known:
                scaling.delete_scaling_policy(PolicyName=policy["PolicyName"], **scaling_target(self.endpoint_name))


def weights_of(described: dict[str, Any]) -> dict[str, float]:
    """Variant -> the weight that it shall have, by an endpoint's description; empty where there is one alone."""
    variants = described.get("ProductionVariants", [])
    return {
        one["VariantName"]: float(one.get("DesiredWeight", one.get("CurrentWeight", 1.0)))
        for one in (variants if len(variants) > 1 else ())
    }


def _policies(scaling: Any, endpoint_name: str) -> list[dict[str, Any]]:
    where = scaling_target(endpoint_name)
    found: list[dict[str, Any]] = scaling.describe_scaling_policies(
        ServiceNamespace=where["ServiceNamespace"], ResourceId=where["ResourceId"]
    )["ScalingPolicies"]
    return found


def _counts(sagemaker: Any, endpoint_name: str) -> dict[str, int]:
    variants = sagemaker.describe_endpoint(EndpointName=endpoint_name).get("ProductionVariants", [])
    return {
        variant["VariantName"]: variant["DesiredInstanceCount"]
        for variant in variants
        if variant.get("DesiredInstanceCount") is not None
    }
