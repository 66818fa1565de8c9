"""Watches a training job: its log as it comes, its end, and what to do when the line to AWS breaks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.sagemaker.submission import confirmed
from thorax_launch.settings import AwsSettings

LOGS = "/aws/sagemaker/TrainingJobs"
ENDED = ("Completed", "Failed", "Stopped")
POLL = 10.0
#: Looks that may fail in a row, each after ten tries of botocore, before the watch is given up.
PATIENCE = 5


def follow(name: str, settings: AwsSettings) -> int:
    """Prints the log of a job until it ends. Ctrl-C asks whether to stop the job.

    Returns:
        0 completed or stopped, 130 where Ctrl-C ended the watch.

    Raises:
        ThoraxError: the job failed (with AWS's reason), or AWS cannot be reached any more (the job goes on).
    """
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    log = Log(client(session, "logs"), name)
    try:
        with one_line_errors(settings):
            job = _watch(sagemaker, log, name)
    except KeyboardInterrupt:
        return _interrupted(sagemaker, name, settings)
    return _ended(job, log, name)


def _watch(sagemaker: Any, log: Log, name: str) -> dict[str, Any]:
    from botocore.exceptions import ConnectionError, HTTPClientError

    told, failures = "", 0
    while True:
        try:
            job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
            status = f"{job['TrainingJobStatus']} {job.get('SecondaryStatus', '')}".strip()
            if status != told:
                print(f"job {name}: {status}", flush=True)
                told = status
            for line in log.new_lines():
                print(line, flush=True)
            if job["TrainingJobStatus"] in ENDED:
                return job
            failures = 0
        except (ConnectionError, HTTPClientError) as error:
            failures += 1
            if failures == PATIENCE:
                raise ThoraxError(
                    f"the line to AWS is lost ({type(error).__name__}); job {name} goes on there; to watch it again:"
                    f" {again(name)}"
                ) from None
            print(
                f"no answer from AWS ({type(error).__name__}); the job goes on; trying again",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(POLL)


def again(name: str) -> str:
    """The command that watches a job."""
    return f"python launch/follow.py {name}"


def _interrupted(sagemaker: Any, name: str, settings: AwsSettings) -> int:
    print()
    try:
        stop = sys.stdin.isatty() and confirmed(f"stop job {name}? No leaves it running.")
    except (KeyboardInterrupt, EOFError):
        stop = False
    if stop:
        with one_line_errors(settings):
            sagemaker.stop_training_job(TrainingJobName=name)
        print(f"job {name} is being stopped; its checkpoints stay, and --resume {name} goes on from them")
    else:
        print(f"job {name} goes on; to watch it again: {again(name)}")
    return 130


def _ended(job: dict[str, Any], log: Log, name: str) -> int:
    if job["TrainingJobStatus"] == "Failed":
        reason = " ".join(str(job.get("FailureReason", "no reason given")).split())
        last = f"; last lines of its log above; more: CloudWatch {LOGS}" if log.last else "; it has no log"
        if log.last and not log.shown:
            print("\n".join(log.last))
        raise ThoraxError(f"job {name} failed: {reason}{last}")
    seconds, billed = job.get("TrainingTimeInSeconds"), job.get("BillableTimeInSeconds")
    if seconds is not None:
        print(f"job {name}: {seconds / 60:.1f} min of training, {(billed or seconds) / 60:.1f} min billed per machine")
    if model := job.get("ModelArtifacts", {}).get("S3ModelArtifacts"):
        print(f"bundle: {model}")
    return 0


class Log:
    """The log of a job, of all its machines, as far as it was not read yet.

    Attributes:
        last: the newest lines that were read, 20 at most.
        shown: how many lines were handed out.
    """

    def __init__(self, logs: Any, name: str) -> None:
        self._logs, self._name = logs, name
        self._tokens: dict[str, str] = {}
        self.last: list[str] = []
        self.shown = 0

    def new_lines(self) -> Iterator[str]:
        """Lines since the last call; with several machines each begins with its machine."""
        from botocore.exceptions import ClientError

        try:
            found = self._logs.describe_log_streams(logGroupName=LOGS, logStreamNamePrefix=f"{self._name}/")[
                "logStreams"
            ]
        except ClientError as error:  # until the first job of an account has written, there is no such group
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return
        streams = [stream["logStreamName"] for stream in found]
        for stream in streams:
            host = f"[{stream.split('/')[1][:6]}] " if len(streams) > 1 else ""
            for message in self._read(stream):
                line = f"{host}{message.rstrip()}"
                self.last = [*self.last, line][-20:]
                self.shown += 1
                yield line

    def _read(self, stream: str) -> Iterator[str]:
        while True:
            token = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            page = self._logs.get_log_events(logGroupName=LOGS, logStreamName=stream, startFromHead=True, **token)
            yield from (event["message"] for event in page["events"])
            after = page["nextForwardToken"]
            if not page["events"] or self._tokens.get(stream) == after:
                self._tokens[stream] = after
                return
            self._tokens[stream] = after
