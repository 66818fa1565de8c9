"""How a job can end, and what a command says and returns then: only a job that completed is a success.

AWS's states: SecondaryStatus of DescribeTrainingJob and the Status of the other kinds, by botocore's model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.sagemaker.errors import failure_reason
from thorax_launch.sagemaker.kinds import PIPELINE, SEARCH, TRAINING, TRANSFORM, Kind

#: Variable in the containers of `thorax prepare`: what --resume takes.
PREPARES = "THORAX_PREPARE"
#: Exit code of a command whose job goes on, but cannot be watched any more.
GOES_ON = 9


@dataclass(frozen=True)
class Ending:
    """One way to end: the exit code, and what happened in words."""

    code: int
    words: str


#: AWS's word -> what it means. Another one, which AWS may add, has the code 8.
ENDINGS = {
    "Failed": Ending(3, "failed"),
    "Stopped": Ending(4, "was stopped before its end"),
    "MaxRuntimeExceeded": Ending(5, "was stopped by AWS after its longest time (--max-hours), before its end"),
    "MaxWaitTimeExceeded": Ending(6, "was ended by AWS: no spot machines within --max-wait-hours"),
    "Interrupted": Ending(7, "was interrupted: AWS took its spot machines back"),
}
OTHER = Ending(8, "ended")


class JobEndedError(ThoraxError):
    """A job ended in another way than completed.

    Attributes:
        name: of the job.
        status: AWS's word for its end, such as Failed, Stopped or MaxRuntimeExceeded.
    """

    exit_code: int  # type: ignore[misc]  # of this end

    def __init__(self, message: str, name: str, status: str, code: int) -> None:
        super().__init__(message)
        self.name, self.status, self.exit_code = name, status, code


class GoesOnError(ThoraxError):
    """AWS cannot be asked about a job any more; the job goes on."""

    exit_code = GOES_ON


def ended(kind: Kind, described: dict[str, Any]) -> bool:
    """Whether it is over, in whatever way."""
    return kind.state(described) not in kind.running


def ending(kind: Kind, described: dict[str, Any]) -> str:
    """AWS's most exact word for the end: the training job's SecondaryStatus where that says more."""
    exact = str(described.get("SecondaryStatus", ""))
    return exact if exact in ENDINGS else kind.state(described)


def check_completed(kind: Kind, name: str, described: dict[str, Any], more: str = "", go_on: str = "") -> None:
    """Returns where the job completed.

    Args:
        kind: of the job.
        name: of the job.
        described: AWS's description of it.
        more: what follows the reason, such as where its log lies.
        go_on: the end of the line, how to go on; "": by the kind.

    Raises:
        JobEndedError: it ended in any other way; the line says which, why, and how to go on.
    """
    if (status := ending(kind, described)) == kind.good:
        return
    how = ENDINGS.get(status, OTHER)
    words = how.words if status in ENDINGS else f"ended as {status}"
    if kind is SEARCH and status == "Stopped" and _out_of_time(described):
        how = ENDINGS["MaxRuntimeExceeded"]
        words = "was stopped by AWS after its longest time (--total-hours)"
    told = described.get("FailureReason") or described.get("ExitMessage") or status == "Failed"
    reason = f": {failure_reason(described)}" if told else ""
    prepares = described.get("Environment", {}).get(PREPARES, "")
    line = f"{kind.words} {name} {words}{reason}{more}; {go_on or _how_to_go_on(kind, name, status, prepares)}"
    raise JobEndedError(line, name, status, how.code)


def _out_of_time(described: dict[str, Any]) -> bool:
    """Whether a search has used up the time that it was given."""
    limit = described.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {}).get("MaxRuntimeInSeconds")
    return bool(limit) and described.get("ConsumedResources", {}).get("RuntimeInSeconds", 0) >= limit


def _how_to_go_on(kind: Kind, name: str, status: str, prepares: str = "") -> str:
    """The end of a line. `prepares`: see PREPARES."""
    if prepares:
        return (
            f"what is done stays; to do the rest: the `{command('prepare')}` that started it with --resume {prepares}"
        )
    if kind is TRAINING:
        again = f"{command('train')} --resume {name}"
        if status == "MaxRuntimeExceeded":
            return f"its bundle is half trained; to go on from its checkpoints: {again} --max-hours H"
        return f"to go on from its checkpoints: {again}"
    if kind is SEARCH:
        return (
            f"what its jobs came to: {command('leaderboard')} {name}; to go on from that: the command that started it"
            f" with --warm-start {name}"
        )
    if kind is PIPELINE:
        retry = "aws sagemaker retry-pipeline-execution --pipeline-execution-arn"
        return f"to run it again from the step that failed: {retry} {name}"
    if kind is TRANSFORM:
        return (
            "to fetch its answers and send again what has none: the command that started it with --resume BATCH --wait"
        )
    return "to run it again: the command that started it with another --job-name"


class Terminated(BaseException):
    """The process was told to end by a signal other than Ctrl-C's, such as SIGTERM of a cancelled CI job.

    Attributes:
        signal: its name.
        exit_code: 128 and its number, as a shell says it.
    """

    def __init__(self, signal: str, number: int) -> None:
        super().__init__(signal)
        self.signal, self.exit_code = signal, 128 + number


class StoppedError(ThoraxError):
    """The command was stopped by Ctrl-C or a signal; the line says what it leaves."""

    exit_code: int  # type: ignore[misc]  # of the signal

    def __init__(self, message: str, error: BaseException) -> None:
        super().__init__(f"{stopped_by(error)}; {message}")
        self.exit_code = getattr(error, "exit_code", 130)


def stopped_by(error: BaseException) -> str:
    """What ended the work, in words: a signal, or an error's own line."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    if isinstance(error, Terminated):
        return f"stopped by {error.signal}"
    return " ".join(str(error).split()) if isinstance(error, ThoraxError) else unexpected(error)


def unexpected(error: BaseException) -> str:
    """An error that nobody foresaw, as one line of at most some 300 characters."""
    words = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {words[:300]}" if words else f"unexpected {type(error).__name__}"
