"""How an endpoint goes from its old model to the new one: at once, canary, linear or rolling, and what rolls it back.

AWS's deployment guardrails (UpdateEndpoint's DeploymentConfig), for endpoints with machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker.autoscaling import errors
from thorax_launch.sagemaker.hosting import HostingSpec
from thorax_launch.sagemaker.requests import check_parameters

#: Minutes between the steps of an update.
BAKE = 5
#: Percent of the machines, by AWS's rules: canary and rolling move at most half at once, linear at least a tenth.
_RANGES = {"canary": (1, 50), "linear": (10, 50), "rolling": (5, 50)}


@dataclass(frozen=True)
class Rollout:
    """One way to update.

    Attributes:
        way: "" for AWS's own (blue/green, all traffic at once), canary, linear or rolling.
        percent: of its step.
        bake_seconds: between steps.
        alarms: names of CloudWatch alarms, each of which rolls it back.
        own_alarm: whether one of them is made here, of 5xx answers.
    """

    way: str = ""
    percent: int = 0
    bake_seconds: int = BAKE * 60
    alarms: tuple[str, ...] = ()
    own_alarm: bool = False

    @classmethod
    def of(cls, options: EndpointOptions, spec: HostingSpec) -> Rollout:
        """The way that the options name.

        Raises:
            ThoraxError: two ways, a percentage out of range, a serverless endpoint, or what AWS would refuse.
        """
        ways = {name: percent for name in _RANGES if (percent := getattr(options, name))}
        if len(ways) > 1:
            raise ThoraxError(f"--{' and --'.join(ways)}: choose one way to update")
        if not ways and not options.alarm:
            if options.bake_minutes:
                raise ThoraxError("--bake-minutes goes with --canary, --linear, --rolling or --alarm")
            return cls()
        if spec.kind == "serverless":
            raise ThoraxError(
                "--canary, --linear, --rolling and --alarm: AWS has none of them for serverless endpoints; leave them"
                " out"
            )
        way, percent = next(iter(ways.items()), ("", 0))
        low, high = _RANGES.get(way, (0, 0))
        if not low <= percent <= high:
            raise ThoraxError(f"--{way} {percent} must be {low} to {high} percent")
        alarms = tuple(name for name in options.alarm.split(",") if name)
        made = cls(
            way,
            percent,
            (options.bake_minutes or BAKE) * 60,
            alarms or (errors(spec.endpoint_name),),
            own_alarm=not alarms,
        )
        check_parameters("UpdateEndpoint", made.update(spec, retain=False))
        return made

    @property
    def chosen(self) -> bool:
        """Whether it is another than AWS's own."""
        return bool(self.way or self.alarms)

    def update(self, spec: HostingSpec, retain: bool) -> dict[str, Any]:
        """Parameters of UpdateEndpoint.

        Args:
            retain: keep the number of machines that the endpoint has come to.
        """
        found: dict[str, Any] = {
            "EndpointName": spec.endpoint_name,
            "EndpointConfigName": spec.name,
            "RetainAllVariantProperties": retain,
        }
        return found | ({"DeploymentConfig": self._deployment()} if self.chosen else {})

    def _deployment(self) -> dict[str, Any]:
        size = {"Type": "CAPACITY_PERCENT", "Value": self.percent}
        policy: dict[str, Any]
        if self.way == "rolling":
            policy = {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": self.bake_seconds}}
        else:
            traffic: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": self.bake_seconds}
            if self.way == "canary":
                traffic |= {"Type": "CANARY", "CanarySize": size}
            if self.way == "linear":
                traffic |= {"Type": "LINEAR", "LinearStepSize": size}
            policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": 60}}
        return {**policy, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in self.alarms]}}

    def alarms_to_make(self, spec: HostingSpec) -> list[dict[str, Any]]:
        """Parameters of cloudwatch's put_metric_alarm: any 5xx answer of the container in a minute."""
        if not self.own_alarm:
            return []
        dimensions = {"EndpointName": spec.endpoint_name, "VariantName": "main"}
        return [
            {
                "AlarmName": errors(spec.endpoint_name),
                "Namespace": "AWS/SageMaker",
                "MetricName": "Invocation5XXErrors",
                "Statistic": "Sum",
                "Period": 60,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "TreatMissingData": "notBreaching",
            }
        ]
