"""Shadow variants: a second bundle behind an endpoint, which gets a copy of the requests and whose answers nobody gets.

AWS's ShadowProductionVariants: one shadow beside one variant, on machines of its own. The share of the requests that
are copied is the ratio of the two variants' weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.bundles import S3Bundle, in_s3
from thorax_launch.sagemaker.hosting import MAIN, SHADOW
from thorax_launch.sagemaker.packages import percentage
from thorax_launch.settings import AwsSettings

#: Days that a comparison looks back, and the metrics that it shows (CloudWatch, AWS/SageMaker).
DAYS = 7
_COUNTS = {"Invocations": "requests", "Invocation4XXErrors": "refused (4xx)", "Invocation5XXErrors": "failed (5xx)"}


@dataclass(frozen=True)
class Shadow:
    """The bundle of a shadow variant, and the percentage of the requests that it gets."""

    bundle: S3Bundle
    percent: int

    @classmethod
    def of(cls, text: str, settings: AwsSettings, offline: bool = False) -> Shadow:
        """What --shadow BUNDLE[:PERCENT] names; `offline`: see in_s3.

        Raises:
            ThoraxError: no bundle, or a percentage that is not 1 to 100.
        """
        where, percent = percentage(text)
        if not 1 <= percent <= 100:
            raise ThoraxError(f"--shadow {text}: the percentage of the requests must be 1 to 100")
        return cls(in_s3(where, settings, offline), percent)


def check(options: EndpointOptions, kind: str, several: bool) -> None:
    """Raises ThoraxError for an endpoint at which AWS takes no shadow variant."""
    if not options.shadow:
        return
    if kind != "realtime" or several:
        what = "several bundles" if several else f"--{kind}"
        raise ThoraxError(f"--shadow with {what}: AWS takes shadow variants at real-time endpoints of one bundle alone")
    if ways := [name for name in ("canary", "linear", "rolling") if getattr(options, name)]:
        raise ThoraxError(
            f"--shadow with --{ways[0]}: choose one; with a shadow the new bundle gets no answers to give, and"
            f" `thorax deploy shadow:NAME` with --{ways[0]} brings it into service"
        )


def comparison(endpoint: str, session: Any) -> str:
    """A line for each variant: requests, errors and latency of the last days, by CloudWatch. Errors are botocore's."""
    cloudwatch = client(session, "cloudwatch")
    lines = [_line(cloudwatch, endpoint, name) for name in (MAIN, SHADOW)]
    return "\n".join([f"the last {DAYS} days, by CloudWatch:", *lines])


def _line(cloudwatch: Any, endpoint: str, name: str) -> str:
    counts = {metric: _points(cloudwatch, (endpoint, name), metric, "Sum") for metric in _COUNTS}
    words = [f"{sum(counts[metric]):,.0f} {meaning}" for metric, meaning in _COUNTS.items()]
    # microseconds; days without a request have no point
    latency = _points(cloudwatch, (endpoint, name), "ModelLatency", "Average")
    days = f", {max(latency) / 1000:,.1f} ms on the slowest day's average" if latency else ""
    return f"{name + ':':8} {', '.join(words)}{days}"


def _points(cloudwatch: Any, place: tuple[str, str], metric: str, statistic: str) -> list[float]:
    now = datetime.now(UTC)
    dimensions = [
        {"Name": key, "Value": value} for key, value in zip(("EndpointName", "VariantName"), place, strict=True)
    ]
    found = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=dimensions,
        StartTime=now - timedelta(days=DAYS),
        EndTime=now,
        Period=86400,
        Statistics=[statistic],
    )
    return [float(point[statistic]) for point in found["Datapoints"]]
