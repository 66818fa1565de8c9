"""A handle on what is on AWS already, by its name alone: a job, a search, an endpoint, a batch transform."""

from __future__ import annotations

from thorax.errors import ThoraxError
from thorax_launch.sagemaker import finding
from thorax_launch.sagemaker.account import place
from thorax_launch.sagemaker.endpoints import Endpoint
from thorax_launch.sagemaker.handles import JobHandle
from thorax_launch.sagemaker.kinds import KINDS
from thorax_launch.settings import AwsSettings


def attach(name: str, *, kind: str = "", settings: AwsSettings | None = None) -> JobHandle | Endpoint:
    """A handle on a running or finished thing of that name.

    A handle ends what it stands for where it is used in a `with` block; used without one, nothing is changed.

    Args:
        name: of a training job, search, batch transform, processing job, pipeline or endpoint.
        kind: training, search, transform, processing, pipeline or endpoint, where several have the name.
        settings: profile and region are used; None: those of ./thorax.yaml or of the AWS session.

    Returns:
        A TrainingJob, TuningJob, TransformJob, ProcessingJob, PipelineRun or Endpoint.

    Raises:
        ThoraxError: there is none, or several and `kind` must say which.

    Examples:
        >>> sagemaker.attach("pneumonia-resnet18-261121-101500").bundle
        's3://my-images/thorax/pneumonia-resnet18-261121-101500/output/model.tar.gz'
        >>> sagemaker.attach("sweep").best.deploy("chest")
        >>> sagemaker.attach("chest").predict(["a.png"])
    """
    if kind and kind not in (*KINDS, "endpoint"):
        raise ThoraxError(f"kind={kind} must be one of {', '.join((*KINDS, 'endpoint'))}")
    where = settings if settings and settings.region else place(settings.profile if settings else "")
    if kind == "endpoint":
        return _there(name, where)
    if kind:
        return finding.find(name, where, kind)
    endpoint = None if name.startswith("arn:") else Endpoint(name, where)
    if endpoint is None or not endpoint.exists():
        return finding.find(name, where)
    try:
        other = finding.find(name, where)
    except ThoraxError as error:
        if str(error).startswith("there is no "):
            return endpoint
        raise
    raise ThoraxError(f"{name} is the name of several things ({other.kind.flag}, endpoint): say which by kind=")


def _there(name: str, where: AwsSettings) -> Endpoint:
    endpoint = Endpoint(name, where)
    if not endpoint.exists():
        raise ThoraxError(f"there is no endpoint {name} in {where.region}; `thorax status` lists what runs")
    return endpoint
