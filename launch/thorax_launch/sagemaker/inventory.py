"""What of this project is on AWS: what is billed, since when and at what price, and what is left over at no cost.

Ours is what has our mark (requests.MARK), which no tag of a user can replace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from thorax.text import counted
from thorax_launch.sagemaker import deletion
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.alarms import endpoint_of
from thorax_launch.sagemaker.autoscaling import errors, wake
from thorax_launch.sagemaker.cost import Prices
from thorax_launch.sagemaker.deletion import DeleteCall
from thorax_launch.sagemaker.errors import if_there, one_line_errors
from thorax_launch.sagemaker.kinds import PIPELINE, PROCESSING, SEARCH, TRAINING, TRANSFORM, Kind
from thorax_launch.sagemaker.requests import MARK
from thorax_launch.settings import AwsSettings


@dataclass(frozen=True)
class Machines:
    """What is billed by the hour: machines of a type, so many."""

    instance_type: str
    count: int


@dataclass(frozen=True)
class Thing:
    """One thing of ours on AWS.

    Attributes:
        what: kind and name, such as endpoint chest.
        state: AWS's word.
        since: when it began to be billed; None where it has not begun or costs nothing.
        machines: what it is billed by; empty where its parts are listed themselves, or nothing is known.
        note: more in a few words.
        end: the calls that end it, in order.
    """

    what: str
    state: str = ""
    since: datetime | None = None
    machines: tuple[Machines, ...] = ()
    note: str = ""
    end: tuple[DeleteCall, ...] = ()

    def dollars(self, prices: Prices | None, now: datetime) -> float | None:
        """Machines x hours x price on demand until now; None where that is not known."""
        if prices is None or self.since is None or not self.machines:
            return None
        if any(machine.instance_type not in prices.per_hour for machine in self.machines):
            return None
        hour = sum(machine.count * prices.per_hour[machine.instance_type] for machine in self.machines)
        return hour * max((now - self.since).total_seconds(), 0.0) / 3600

    def line(self, prices: Prices | None, now: datetime) -> str:
        """What, state, since when, on which machines, and dollars so far where they are known."""
        words = [f"{self.what}: {self.state}"] if self.state else [self.what]
        if self.since:
            hours = (now - self.since).total_seconds() / 3600
            words.append(f"since {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC ({hours:.1f} h)")
        words += [f"{machine.count} x {machine.instance_type}" for machine in self.machines]
        if (cost := self.dollars(prices, now)) is not None:
            words.append(f"${cost:,.2f} so far")
        return ", ".join([*words, *([self.note] if self.note else [])])


class Inventory:
    """The things of one account and region that have our mark."""

    def __init__(self, settings: AwsSettings) -> None:
        session = open_session(settings)
        self._settings = settings
        self._sagemaker = client(session, "sagemaker")
        self._cloudwatch = client(session, "cloudwatch")

    def billed(self) -> list[Thing]:
        """Everything of ours that is billed now, in the order in which it is to be ended.

        Raises:
            ThoraxError: AWS refuses.
        """
        with one_line_errors(self._settings):
            endpoints = list(self._endpoints())
            return [
                *self._pipelines(),
                *self._jobs(SEARCH),
                *self._jobs(TRAINING),
                *self._jobs(TRANSFORM),
                *self._jobs(PROCESSING),
                *self._warm_pools(),
                *endpoints,
                *self._alarms(),
            ]

    def left_over(self) -> list[Thing]:
        """Models and endpoint configurations of ours that no endpoint and no running batch transform uses; they cost
        nothing.

        Raises:
            ThoraxError: AWS refuses.
        """
        with one_line_errors(self._settings):
            used = set()
            for listed in self._pages("list_endpoints", "Endpoints"):
                if described := if_there(partial(self._endpoint, listed["EndpointName"])):
                    used.add(described["EndpointConfigName"])
            models = {
                self._sagemaker.describe_transform_job(TransformJobName=one["TransformJobName"])["ModelName"]
                for one in TRANSFORM.listed(self._sagemaker, StatusEquals="InProgress")
            }
            found = []
            for listed in self._pages("list_endpoint_configs", "EndpointConfigs"):
                name = listed["EndpointConfigName"]
                if name in used:
                    config = self._sagemaker.describe_endpoint_config(EndpointConfigName=name)
                    models |= set(deletion.models_of(config))
                elif self._ours(listed["EndpointConfigArn"]):
                    found.append(_left(deletion.configuration(name)))
            for listed in self._pages("list_models", "Models"):
                if listed["ModelName"] not in models and self._ours(listed["ModelArn"]):
                    found.append(_left(deletion.model(listed["ModelName"])))
            return found

    def parts_of(self, endpoint: str) -> list[DeleteCall]:
        """What is left of an endpoint of ours that is gone: autoscaling, alarm, configurations, models.

        Raises:
            ThoraxError: AWS refuses.
        """
        revision = re.compile(rf"\S+ {re.escape(endpoint)}(-[\d-]+)?")
        alarms = [
            call
            for thing in self._alarms_in_one_line()
            for call in thing.end
            if call.arguments["AlarmNames"][0] in (wake(endpoint), errors(endpoint))
        ]
        left = [call for thing in self.left_over() for call in thing.end]
        return [*alarms, *(call for call in left if revision.fullmatch(call.what.removeprefix("endpoint ")))]

    def _alarms_in_one_line(self) -> list[Thing]:
        with one_line_errors(self._settings):
            return list(self._alarms())

    def _pages(self, call: str, key: str) -> Iterator[dict[str, Any]]:
        for page in self._sagemaker.get_paginator(call).paginate():
            yield from page[key]

    def _ours(self, arn: str) -> bool:
        pages = self._sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        found = if_there(lambda: [tag["Key"] for page in pages for tag in page["Tags"]])
        return MARK in (found or [])

    def _endpoint(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._sagemaker.describe_endpoint(EndpointName=name)
        return found

    def _jobs(self, kind: Kind) -> Iterator[Thing]:
        """Running jobs of a kind. Those that a search or a pipeline's run started end with it, and are listed too."""
        for state in kind.running:
            for listed in kind.listed(self._sagemaker, StatusEquals=state):
                name, arn = listed[kind.identity], listed[f"{kind.resource}Arn"]
                if self._ours(arn):
                    yield _job(kind, name, kind.describe(self._sagemaker, name))

    def _pipelines(self) -> Iterator[Thing]:
        for listed in self._pages("list_pipelines", "PipelineSummaries"):
            if not self._ours(listed["PipelineArn"]):
                continue
            name = listed["PipelineName"]
            for page in self._sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=name):
                for run in page["PipelineExecutionSummaries"]:
                    if run["PipelineExecutionStatus"] in PIPELINE.running:
                        arn = run["PipelineExecutionArn"]
                        stop = _stop(PIPELINE, arn, f"run of pipeline {name}")
                        state = run["PipelineExecutionStatus"]
                        note = "its steps' jobs are listed too"
                        yield Thing(f"pipeline {name}", state, run["StartTime"], note=note, end=stop)

    def _warm_pools(self) -> Iterator[Thing]:
        for state in ("Available", "InUse"):
            for listed in TRAINING.listed(self._sagemaker, WarmPoolStatusEquals=state):
                name = listed["TrainingJobName"]
                if listed.get("WarmPoolStatus", {}).get("Status") != "Available" or not self._ours(
                    listed["TrainingJobArn"]
                ):
                    continue  # one in use is billed as the job that runs on it
                described = TRAINING.describe(self._sagemaker, name)
                arguments = {"TrainingJobName": name, "ResourceConfig": {"KeepAlivePeriodInSeconds": 0}}
                end = (DeleteCall(f"warm pool of job {name}", "sagemaker", "update_training_job", arguments),)
                machines = _machines(described["ResourceConfig"])
                since = described.get("TrainingEndTime")
                yield Thing(f"warm pool of job {name}", "Available", since, machines, end=end)

    def _endpoints(self) -> Iterator[Thing]:
        for listed in self._pages("list_endpoints", "Endpoints"):
            name = listed["EndpointName"]
            if not self._ours(listed["EndpointArn"]):
                continue
            described = if_there(partial(self._endpoint, name))
            if described is None:
                continue
            config = self._sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
            types = {one["VariantName"]: one.get("InstanceType", "") for one in _variants(config)}
            counts = {one["VariantName"]: one.get("CurrentInstanceCount", 1) for one in _variants(described)}
            machines = tuple(
                Machines(kind, counts.get(variant, 1))
                for variant, kind in types.items()
                if kind and counts.get(variant, 1)
            )
            shadowed = "with a shadow variant" if config.get("ShadowProductionVariants") else ""
            note = shadowed if machines else "no machine now: billed by request"
            since = described["CreationTime"]
            yield Thing(f"endpoint {name}", described["EndpointStatus"], since, machines, note)

    def _alarms(self) -> Iterator[Thing]:
        """The alarms of endpoints (about $0.10 a month each), where the endpoint is gone."""
        for page in self._cloudwatch.get_paginator("describe_alarms").paginate():
            for alarm in page["MetricAlarms"]:
                endpoint, name = endpoint_of(alarm), alarm["AlarmName"]
                if endpoint and if_there(partial(self._endpoint, endpoint)) is None:
                    yield Thing(f"alarm {name}", note="its endpoint is gone", end=(deletion.named_alarm(name),))


def _variants(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that answer and those that shadow them; both are billed."""
    return [*described.get("ProductionVariants", []), *described.get("ShadowProductionVariants", [])]


def _left(call: DeleteCall) -> Thing:
    return Thing(call.what, note="left over; costs nothing", end=(call,))


def _stop(kind: Kind, name: str, what: str = "") -> tuple[DeleteCall, ...]:
    call = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.resource)
    return (DeleteCall(what or f"{kind.words} {name}", "sagemaker", f"stop{call}", {kind.identity: name}, "stopping"),)


def _job(kind: Kind, name: str, described: dict[str, Any]) -> Thing:
    state, note = kind.state(described), ""
    machines: tuple[Machines, ...] = ()
    since = described.get("CreationTime")
    if kind is TRAINING:
        machines, since = _machines(described.get("ResourceConfig", {})), described.get("TrainingStartTime")
        state = f"{state} {described.get('SecondaryStatus', '')}".strip()
        if search := described.get("TuningJobArn"):
            note = f"a job of search {search.rpartition('/')[2]}"
        if described.get("EnableManagedSpotTraining"):
            note = f"{note}; spot: at most".strip("; ")
    elif kind is SEARCH:
        counts = described.get("TrainingJobStatusCounters", {})
        running = counted(counts.get("InProgress", 0), "job")
        note = f"{running} running, {counts.get('Completed', 0)} done; its jobs are listed too"
        since = described.get("CreationTime")
    elif kind is TRANSFORM:
        machines, since = _machines(described.get("TransformResources", {})), described.get("TransformStartTime")
    elif kind is PROCESSING:
        cluster = described.get("ProcessingResources", {}).get("ClusterConfig", {})
        machines, since = _machines(cluster), described.get("ProcessingStartTime")
    end = _stop(kind, name)
    if kind is TRANSFORM and described.get("ModelName") == name:  # `thorax batch` makes a model for each job
        end += (deletion.model(name),)
    return Thing(f"{kind.words} {name}", state, since, machines, note, end)


def _machines(resources: dict[str, Any]) -> tuple[Machines, ...]:
    if "InstanceType" in resources:
        return (Machines(resources["InstanceType"], resources.get("InstanceCount", 1)),)
    groups = resources.get("InstanceGroups", [])
    return tuple(Machines(group["InstanceType"], group["InstanceCount"]) for group in groups)
