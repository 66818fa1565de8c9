"""What an endpoint's variants did in the last hours, by CloudWatch: requests, errors, latency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.capacity import weights_of
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.variants import shares
from thorax_launch.settings import AwsSettings

#: Hours that CloudWatch keeps these figures: 455 days.
LONGEST_HOURS = 455 * 24


@dataclass(frozen=True)
class VariantFigures:
    """One variant of an endpoint.

    Attributes:
        name: of the variant.
        model: SageMaker's name of its model.
        bundle: s3:// address of its bundle; "" where the model is gone.
        machines: such as `2 x ml.m5.large`, or `serverless`.
        share: percent of the requests; None for a shadow, whose answers nobody gets.
        requests, refused, failed: in all; answers of 4xx; answers of 5xx.
        latency_ms, slowest_ms, overhead_ms: mean and longest time in the container, mean of SageMaker's own; None
            where there was no request.
    """

    name: str
    model: str
    bundle: str
    machines: str
    share: float | None
    requests: int
    refused: int
    failed: int
    latency_ms: float | None
    slowest_ms: float | None
    overhead_ms: float | None

    def line(self) -> str:
        """One line of `thorax status`."""
        share = "shadow" if self.share is None else f"{self.share:.4g} %"
        words = [f"{self.requests:,} requests", f"{self.refused:,} refused (4xx)", f"{self.failed:,} failed (5xx)"]
        if self.latency_ms is not None:
            words.append(f"{self.latency_ms:,.1f} ms on average, {self.slowest_ms or 0:,.1f} ms at most")
        if self.overhead_ms is not None:
            words.append(f"{self.overhead_ms:,.1f} ms of SageMaker's own")
        return f"  {self.name} ({share}, {self.machines}): {', '.join(words)}; {self.bundle or self.model}"


@dataclass(frozen=True)
class EndpointFigures:
    """An endpoint: its name, AWS's word for its state, since when it is there, and its variants, a shadow last."""

    name: str
    state: str
    since: datetime
    hours: float
    variants: tuple[VariantFigures, ...]

    def text(self) -> str:
        """As `thorax status NAME` prints it."""
        first = f"endpoint {self.name}: {self.state}, since {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return "\n".join([f"{first}; the last {self.hours:g} hours by CloudWatch:", *(v.line() for v in self.variants)])


def figures(name: str, settings: AwsSettings, hours: float = 24) -> EndpointFigures:
    """What the variants of an endpoint did.

    Raises:
        ThoraxError: there is no such endpoint, or AWS refuses.
    """
    session = open_session(settings)
    sagemaker, cloudwatch = client(session, "sagemaker"), client(session, "cloudwatch")
    with one_line_errors(settings):
        found = sagemaker.describe_endpoint(EndpointName=name)
        config = sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
        share = shares(weights_of(found)) or {one["VariantName"]: 100.0 for one in config["ProductionVariants"]}
        counts = {
            one["VariantName"]: one.get("CurrentInstanceCount", 1)
            for key in ("ProductionVariants", "ShadowProductionVariants")
            for one in found.get(key, [])
        }
        described = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
        variants = tuple(
            _variant(one, share.get(one["VariantName"]), counts, _Metrics(cloudwatch, name, one["VariantName"], hours))
            for one in described
        )
        bundles = {one.model: _bundle(sagemaker, one.model) for one in variants if one.model}
    whole = tuple(VariantFigures(**{**vars(one), "bundle": bundles.get(one.model, "")}) for one in variants)
    return EndpointFigures(name, found["EndpointStatus"], found["CreationTime"], hours, whole)


def failures(name: str, variants: list[str], since: datetime, session: Any) -> dict[str, int]:
    """Variant -> answers of 5xx since then, of those that had any. Errors are botocore's."""
    cloudwatch, hours = client(session, "cloudwatch"), (datetime.now(UTC) - since).total_seconds() / 3600
    counts = {one: round(_Metrics(cloudwatch, name, one, hours).sum("Invocation5XXErrors")) for one in variants}
    return {one: count for one, count in counts.items() if count}


@dataclass(frozen=True)
class _Metrics:
    """CloudWatch's figures of one variant in the last hours."""

    cloudwatch: Any
    endpoint: str
    variant: str
    hours: float

    def points(self, metric: str) -> list[dict[str, float]]:
        now = datetime.now(UTC)
        # an answer holds 1,440 points; those of minutes are kept for 15 days, of 5 minutes for 63
        steps = ((12, 60), (96, 300), (1400, 3600), (LONGEST_HOURS, 86400))
        period = next(seconds for most, seconds in steps if self.hours <= most)
        found: list[dict[str, float]] = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[
                {"Name": "EndpointName", "Value": self.endpoint},
                {"Name": "VariantName", "Value": self.variant},
            ],
            StartTime=now - timedelta(hours=max(self.hours, 1 / 60)),
            EndTime=now + timedelta(seconds=60),
            Period=period,
            Statistics=["Sum", "SampleCount", "Maximum"],
        )["Datapoints"]
        return found

    def sum(self, metric: str) -> float:
        return sum(point["Sum"] for point in self.points(metric))

    def times(self, metric: str) -> tuple[float | None, float | None]:
        """(mean, longest) in milliseconds of a metric in microseconds."""
        points = self.points(metric)
        count = sum(point["SampleCount"] for point in points)
        if not count:
            return None, None
        mean = sum(point["Sum"] for point in points) / count
        return mean / 1000, max(point["Maximum"] for point in points) / 1000


def _variant(
    described: dict[str, Any], share: float | None, counts: dict[str, int], metrics: _Metrics
) -> VariantFigures:
    """Of one variant, by its part of the configuration; its bundle is asked for later."""
    name = described["VariantName"]
    pools = [pool["InstanceType"] for pool in described.get("InstancePools", [])]
    kind = described.get("InstanceType") or ",".join(pools)
    latency, slowest = metrics.times("ModelLatency")
    return VariantFigures(
        name,
        described.get("ModelName", ""),
        "",
        f"{counts.get(name, 1)} x {kind}" if kind else "serverless",
        share,
        round(metrics.sum("Invocations")),
        round(metrics.sum("Invocation4XXErrors")),
        round(metrics.sum("Invocation5XXErrors")),
        latency,
        slowest,
        metrics.times("OverheadLatency")[0],
    )


def _bundle(sagemaker: Any, model: str) -> str:
    """Address of a model's bundle; "" where it is gone."""
    from thorax_launch.sagemaker.errors import if_there

    found = if_there(lambda: sagemaker.describe_model(ModelName=model)) or {}
    return str(found.get("PrimaryContainer", {}).get("ModelDataUrl", ""))
