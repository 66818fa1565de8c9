"""A job of whatever kind, by its name: the handle on it."""

from __future__ import annotations

from thorax_launch.sagemaker import kinds
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.handles import JobHandle, PipelineRun, ProcessingJob, TransformJob
from thorax_launch.sagemaker.jobs import TrainingJob
from thorax_launch.sagemaker.search import TuningJob
from thorax_launch.sagemaker.status import while_it_goes_on
from thorax_launch.settings import AwsSettings

_HANDLES: tuple[type[JobHandle], ...] = (TrainingJob, TuningJob, TransformJob, ProcessingJob, PipelineRun)


def find(name: str, settings: AwsSettings, flag: str = "") -> JobHandle:
    """A handle on the job of that name; of several things the one that runs.

    Args:
        name: of a training job, search, batch transform, processing job or pipeline, or the ARN of a pipeline's run.
        settings: where to look.
        flag: the only kind to look for, a key of kinds.KINDS; "": every kind.

    Raises:
        ThoraxError: there is none, or several.
        GoesOnError: AWS refuses or does not answer.
    """
    with while_it_goes_on("what runs as", name, settings):
        kind, identity, described = kinds.find(client(open_session(settings), "sagemaker"), name, flag)
    found = next(handle for handle in _HANDLES if handle.kind is kind)(identity, settings)
    found.known = described
    return found
