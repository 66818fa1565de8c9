"""From a plan to a running job: what would be sent in words, the upload, the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.cost import job_cost
from thorax_launch.sagemaker.endings import StoppedError, Terminated, unexpected
from thorax_launch.sagemaker.errors import busy, if_there, one_line_errors, taken
from thorax_launch.sagemaker.kinds import KINDS, SEARCH, TRAINING
from thorax_launch.sagemaker.package import Upload, upload
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.status import Watched
from thorax_launch.sagemaker.summaries import Summary, channels, rows
from thorax_launch.sagemaker.training_jobs import JobPlan
from thorax_launch.settings import AwsSettings

if TYPE_CHECKING:
    import boto3

#: Members of a request that hold names of the person's own.
_MAPS = {"HyperParameters", "StaticHyperParameters", "Environment"}
#: Members of a request that are there only where a person chose them.
_CHOSEN = {
    *("VpcConfig", "CheckpointConfig", "DebugRuleConfigurations", "KmsKeyId", "VolumeKmsKeyId", "MaxWaitTimeInSeconds"),
    *("KeepAlivePeriodInSeconds", "InstancePreferences", "HyperParameterTuningResourceConfig"),
    *("WarmStartConfig", "Autotune", "TuningJobCompletionCriteria", "TargetObjectiveMetricValue"),
    *("BestObjectiveNotImproving", "ConvergenceDetected", "MaxRuntimeInSeconds", "MaxNumberOfTrainingJobs"),
    *("AutoParameters", "IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges"),
    *("TransformAmiVersion", "DataProcessing"),
}
#: What a summary calls a kind of job.
NAMES = {TRAINING: "training job", SEARCH: "search"}


def summary(plan: JobPlan, settings: AwsSettings) -> Summary:
    """What a training or tuning job would make, read, upload, and cost at most."""
    parameters = plan.request.parameters
    definition = parameters.get("TrainingJobDefinition", parameters)
    kind = next(kind for kind in KINDS.values() if kind.resource == plan.request.resource)
    made = definition.get("OutputDataConfig", {}).get("S3OutputPath", "")
    closed = "AWS closed Debugger to new customers on 2026-07-30; accounts that did not use it before are refused"
    return Summary(
        (f"{NAMES[kind]} {plan.name}", *([f"bundles and reports below {made}"] if made else [])),
        (job_cost(plan.recipe, settings, plan.scale),),
        channels(definition, plan.uploads),
        tuple(plan.uploads),
        (*(rows("note", [closed]) if parameters.get("DebugHookConfig") else ()), *plan.notes),
    )


def upload_all(uploads: Sequence[Upload], session: boto3.Session, settings: AwsSettings) -> None:
    """Uploads, under a bar on a terminal. Raises ThoraxError: AWS refuses."""
    with one_line_errors(settings):
        upload(client(session, "s3"), uploads, settings.kms_key)


def submit(plan: JobPlan, settings: AwsSettings) -> bool:
    """Uploads, then sends the request; the same request under the same name never starts a second job.

    Returns:
        Whether it was started now; False where a job of that name with the same request is there already.

    Raises:
        ThoraxError: AWS refuses, or the name is another job's; nothing was started, or the line says that it may have.
        StoppedError: Ctrl-C or a signal while it was sent.
    """
    session = open_session(settings)
    upload_all(plan.uploads, session, settings)
    try:
        return send_once(plan.request, plan.name, settings)
    except (KeyboardInterrupt, Terminated) as error:
        raise StoppedError(may_have_started(plan.name).removeprefix("; "), error) from None


def send_once(request: AwsRequest, name: str, settings: AwsSettings) -> bool:
    """Sends the request of a job; the same request under the same name never starts a second one.

    Returns, Raises: see submit; Ctrl-C and signals go through.
    """
    kind = next(kind for kind in KINDS.values() if kind.resource == request.resource)
    try:
        request.send(open_session(settings))
    except Exception as error:  # botocore's, and whatever the SDK raises over an answer
        return _settled(request, Watched(kind, name), settings, error)
    return True


def _settled(request: AwsRequest, job: Watched, settings: AwsSettings, error: Exception) -> bool:
    """After an error of the request: whether the job was started by it all the same. See submit."""
    from botocore.exceptions import ClientError

    kind, name, refused = job.kind, job.name, isinstance(error, ClientError)
    line = _line(error, settings)
    if refused and not taken(error) and not busy(error):
        raise ThoraxError(f"{line}; nothing was started") from None
    try:
        with one_line_errors(settings):
            sagemaker = client(open_session(settings), "sagemaker")
            described = if_there(lambda: kind.describe(sagemaker, name))
    except ThoraxError:
        raise ThoraxError(f"{line}{may_have_started(name)}") from None
    if described is None:
        again = f"nothing was started; the same command with --job-name {name} never starts two"
        raise ThoraxError(f"{line}; {again}") from None
    if not covers(described, request.parameters):
        refusal = "" if refused and taken(error) else f"{line}; nothing was started; "
        raise ThoraxError(
            f"{refusal}the name {name} is taken by a {kind.words} with another request ({kind.state(described)}): give"
            f" another --job-name; to see it: {command('follow')} {name}"
        ) from None
    print(f"{kind.words} {name} is there ({kind.state(described)}), from this very request: none is started twice")
    return not (refused and taken(error))


def _line(error: Exception, settings: AwsSettings) -> str:
    try:
        with one_line_errors(settings):
            raise error
    except ThoraxError as found:
        return str(found)
    except Exception as other:
        return unexpected(other)


def covers(described: Any, sent: Any) -> bool:
    """Whether a description has all that was sent, tags apart, and nothing besides that a person chose.

    AWS adds defaults of its own, but none to hyperparameters and environment, and none of _CHOSEN.
    """
    if isinstance(sent, Mapping):
        members = {key: value for key, value in sent.items() if key != "Tags"}
        if not isinstance(described, Mapping):
            return False
        dropped = [key for key in described.keys() - members.keys() if key in _CHOSEN and described[key]]
        for key in _MAPS & described.keys():
            own = {name for name in described[key] or {} if not name.startswith("_tuning")}  # AWS's, of a search's jobs
            dropped += own - (members.get(key) or {}).keys()
        return not dropped and all(key in described and covers(described[key], value) for key, value in members.items())
    if isinstance(sent, list | tuple):
        return len(described) == len(sent) and all(map(covers, described, sent))
    return bool(described == sent)


def may_have_started(name: str) -> str:
    """The end of a message where no answer to a request came."""
    return (
        f"; {name} may have started all the same: `{command('follow')} {name}` tells, `{command('stop')} {name}` ends"
        f" it; the same command with --job-name {name} never starts two"
    )
