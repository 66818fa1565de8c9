"""The kinds of what runs on AWS: how each is named, described, listed and stopped, and which of its states is good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.errors import if_there


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    Attributes:
        flag: what --kind calls it.
        resource: AWS's name of it, as in Describe<resource> and <resource>Name.
        words: what a line calls it.
        logs: CloudWatch's log group; "" for none.
        good: the one state that is a success.
        running: the states in which it is at work, and is billed.
        key: Name, or Arn where its ARN names it in calls.
    """

    flag: str
    resource: str
    words: str
    logs: str = ""
    good: str = "Completed"
    running: tuple[str, ...] = ("InProgress", "Stopping")
    key: str = "Name"

    @property
    def identity(self) -> str:
        """The parameter that names one, such as TrainingJobName."""
        return f"{self.resource}{self.key}"

    def state(self, described: dict[str, Any]) -> str:
        """AWS's word for its state."""
        return str(described[f"{self.resource}Status"])

    def describe(self, sagemaker: Any, name: str) -> dict[str, Any]:
        """AWS's description. Raises botocore's errors."""
        from botocore import xform_name

        found: dict[str, Any] = getattr(sagemaker, xform_name(f"Describe{self.resource}"))(**{self.identity: name})
        return found

    def stop(self, sagemaker: Any, name: str) -> None:
        """Asks AWS to stop it; what it wrote stays. Raises botocore's errors."""
        from botocore import xform_name

        getattr(sagemaker, xform_name(f"Stop{self.resource}"))(**{self.identity: name})

    def listed(self, sagemaker: Any, **limits: Any) -> Iterator[dict[str, Any]]:
        """Summaries of all that fit the limits, such as StatusEquals. Raises botocore's errors."""
        from botocore import xform_name

        pages = sagemaker.get_paginator(xform_name(f"List{self.resource}s")).paginate(**limits)
        for page in pages:
            yield from page.get(f"{self.resource}Summaries", [])


TRAINING = Kind("training", "TrainingJob", "job", "/aws/sagemaker/TrainingJobs")
SEARCH = Kind("search", "HyperParameterTuningJob", "search", "/aws/sagemaker/TrainingJobs")
TRANSFORM = Kind("transform", "TransformJob", "batch transform", "/aws/sagemaker/TransformJobs")
PROCESSING = Kind("processing", "ProcessingJob", "processing job", "/aws/sagemaker/ProcessingJobs")
PIPELINE = Kind(
    "pipeline", "PipelineExecution", "pipeline run", good="Succeeded", running=("Executing", "Stopping"), key="Arn"
)
KINDS = {kind.flag: kind for kind in (TRAINING, SEARCH, TRANSFORM, PROCESSING, PIPELINE)}


def find(sagemaker: Any, name: str, flag: str = "") -> tuple[Kind, str, dict[str, Any]]:
    """(kind, what names it in calls, its description) of the job of that name; of several the one that runs.

    A pipeline's name stands for its latest run.

    Args:
        sagemaker: boto3's client.
        name: of a job, a search or a pipeline, or the ARN of a pipeline's run.
        flag: the only kind to look for; "": every kind.

    Raises:
        ThoraxError: there is none, or several and --kind must say which.
        botocore's errors: AWS refuses.
    """
    found = []
    for kind in (KINDS[flag],) if flag else KINDS.values():
        identity = _latest_run(sagemaker, name) if kind is PIPELINE else name if not name.startswith("arn:") else ""
        if identity and (described := if_there(partial(kind.describe, sagemaker, identity))) is not None:
            found.append((kind, identity, described))
    running = [one for one in found if one[0].state(one[2]) in one[0].running]
    if len(running) == 1 or len(found) == 1:
        return (running or found)[0]
    if found:
        flags = ", ".join(kind.flag for kind, _, _ in running or found)
        raise ThoraxError(f"{name} is the name of several things ({flags}): say which by --kind")
    what = f"no {KINDS[flag].words}" if flag else "no training job, search, batch transform, processing job or pipeline"
    raise ThoraxError(f"there is {what} {name} in this region; `thorax status` lists what runs")


def _latest_run(sagemaker: Any, name: str) -> str:
    """ARN of a pipeline's latest run; "" where there is none."""
    if name.startswith("arn:"):
        return name if ":pipeline/" in name and "/execution/" in name else ""
    listed = if_there(
        lambda: sagemaker.list_pipeline_executions(
            PipelineName=name, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["PipelineExecutionSummaries"]
    )
    return str(listed[0]["PipelineExecutionArn"]) if listed else ""
