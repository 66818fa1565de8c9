"""What jobs, searches and endpoints on AWS have in common: a name, a status, and an end to what they cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, ClassVar, Self

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client, open_session, place
from thorax_launch.sagemaker.endings import check_completed
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.kinds import PIPELINE, PROCESSING, TRANSFORM, Kind
from thorax_launch.sagemaker.schema import input_shape
from thorax_launch.sagemaker.status import Description, JobLog, Shown, Watched, follow, while_it_goes_on
from thorax_launch.settings import AwsSettings


class Handle(ABC):
    """Something on AWS, by its name. At the end of a `with` block, also after an exception, it is ended.

    Attributes:
        resource: AWS's name of its kind.
        name: its name.
        settings: where it is.
        sent: False for a dry run: nothing can be asked of it but its request.
    """

    resource: ClassVar[str]

    def __init__(
        self,
        name: str,
        settings: AwsSettings | None = None,
        *,
        request: Mapping[str, Any] | None = None,
        sent: bool = True,
    ) -> None:
        """A handle on a thing that may be there already.

        Args:
            name: its name.
            settings: profile and region are used; None: those of ./thorax.yaml or of the AWS session.
            request: what was sent; None: asked of AWS where it is needed.
            sent: whether it was sent.

        Raises:
            ThoraxError: no region.
        """
        self.name, self.sent, self._request = name, sent, request
        self.settings = settings if settings and settings.region else place(settings.profile if settings else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def request(self) -> dict[str, Any]:
        """The parameters of its Create call: as sent, or, for a handle by name, as AWS describes them.

        Raises:
            ThoraxError: AWS refuses.
        """
        if self._request is not None:
            return dict(self._request)
        members = input_shape(f"Create{self.resource}").members
        return {name: value for name, value in self.describe().items() if name in members}

    def describe(self) -> dict[str, Any]:
        """AWS's description. Raises ThoraxError: it does not exist, was not sent, or AWS refuses."""
        return self._call("Describe")

    def status(self) -> str:
        """AWS's word for its state, such as InProgress."""
        return str(self.describe()[f"{self.resource}Status"])

    @abstractmethod
    def end(self) -> None:
        """Ends what costs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.sent:
            return
        try:
            self.end()
        except ThoraxError as failure:
            if error is None:
                raise
            error.add_note(f"{self.resource} {self.name} may go on and cost: {failure}")

    @cached_property
    def session(self) -> Any:
        """boto3's session."""
        return open_session(self.settings)

    @cached_property
    def sagemaker(self) -> Any:
        """boto3's client."""
        return client(self.session, "sagemaker")

    def check_sent(self) -> None:
        """Raises ThoraxError after a dry run."""
        if not self.sent:
            raise ThoraxError(f"{self.resource} {self.name} was not sent (dry_run=True); leave dry_run out to send it")

    def _call(self, verb: str) -> dict[str, Any]:
        from botocore import xform_name

        self.check_sent()
        with one_line_errors(self.settings):
            call = getattr(self.sagemaker, xform_name(f"{verb}{self.resource}"))
            found: dict[str, Any] = call(**{f"{self.resource}Name": self.name})
        return found


class JobHandle(Handle):
    """A job that runs until it is done or stopped; a `with` block stops it where it still runs.

    Attributes:
        kind: which kind of job it is.
        known: a description of a moment ago, with which `wait` begins; None: it asks.
    """

    kind: ClassVar[Kind]
    known: Description | None = None

    def describe(self) -> dict[str, Any]:
        """AWS's description. Raises ThoraxError: it does not exist, was not sent, or AWS refuses."""
        self.check_sent()
        with one_line_errors(self.settings):
            return self.kind.describe(self.sagemaker, self.name)

    def status(self) -> str:
        """AWS's word for its state, such as InProgress."""
        return self.kind.state(self.describe())

    def wait(self, logs: bool = True) -> str:
        """Returns once the job has completed.

        Args:
            logs: print its state as it changes and, of a job that has one, its log as it comes.

        Returns:
            Completed (Succeeded for a pipeline's run).

        Raises:
            JobEndedError: it ended in any other way: failed, stopped, out of time. `.status` is AWS's word for it.
            GoesOnError: AWS cannot be asked any more; the job goes on.
        """
        self.check_sent()
        log = self._log() if logs else None
        with while_it_goes_on(self.kind.words, self.name, self.settings, self.then):
            watched = Watched(self.kind, self.name, self.known)
            view = Shown(self._line, self._counts, log) if logs else Shown(_nothing, _uncounted, live=False)
            job = follow(watched, self.sagemaker, view)
        self._report(job, log, logs)
        return self.kind.state(job)

    def _log(self) -> JobLog | None:
        return JobLog(client(self.session, "logs"), self.name, self.kind.logs) if self.kind.logs else None

    def _line(self, job: Description) -> str:
        """What is printed of a description when it changes."""
        return f"{self.kind.words} {self.name}: {self.kind.state(job)}"

    def _counts(self, job: Description) -> dict[str, Any]:
        """How far it is, as fields of a State: done, total, unit, note."""
        return {}

    def _report(self, job: Description, log: JobLog | None, logs: bool) -> None:
        """After its end. Raises JobEndedError: it did not complete."""
        lines = ""
        if logs and log:
            lines = (
                f"; last lines of its log above; more: CloudWatch {self.kind.logs}" if log.last else "; it has no log"
            )
        if log and log.last and not log.shown:
            print("\n".join(log.last))
        check_completed(self.kind, self.name, job, lines)

    @property
    def kept(self) -> str:
        """What stays when it is stopped, in words."""
        return "what it wrote stays"

    @property
    def then(self) -> str:
        """What is done once it is done, in words: the end of a line that says that it goes on."""
        return ""

    def stop(self) -> None:
        """Asks AWS to stop it; what it wrote stays.

        Raises:
            ThoraxError: AWS refuses.
        """
        self.check_sent()
        with one_line_errors(self.settings):
            self.kind.stop(self.sagemaker, self.name)

    def end(self) -> None:
        """Stops it where it still runs."""
        if self.status() in self.kind.running[:1]:
            self.stop()
            print(f"{self.resource} {self.name} is being stopped", flush=True)


def _nothing(_: Description) -> str:
    return ""


def _uncounted(_: Description) -> dict[str, Any]:
    return {}


class TransformJob(JobHandle):
    """A batch transform on SageMaker, by its name."""

    resource, kind = TRANSFORM.resource, TRANSFORM


class ProcessingJob(JobHandle):
    """A processing job on SageMaker, by its name."""

    resource, kind = PROCESSING.resource, PROCESSING


class PipelineRun(JobHandle):
    """One run of a pipeline, by its ARN."""

    resource, kind = PIPELINE.resource, PIPELINE

    def _line(self, job: Description) -> str:
        self._told = self._steps()
        return f"{super()._line(job)}{self._told}"

    def _counts(self, job: Description) -> dict[str, Any]:
        return {"note": f"{self.kind.state(job)}{self._told}"}

    def _steps(self) -> str:
        """The end of a line: "; Prepare Succeeded, Train Executing", the steps that have begun, in their order; ""
        where AWS does not tell them."""
        from botocore.exceptions import ClientError

        try:
            listed = self.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=self.name, SortOrder="Ascending")
        except ClientError:  # a policy that was printed before this right was in it
            return ""
        steps = [f"{step['StepName']} {step['StepStatus']}" for step in listed.get("PipelineExecutionSteps", [])]
        return f"; {', '.join(steps)}" if steps else ""
