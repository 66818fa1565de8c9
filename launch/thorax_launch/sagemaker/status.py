"""Waiting for what runs on AWS: its state as it changes, the log of a training job, and lost connections."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command

#: Seconds between two looks.
POLL = 10.0
#: Looks that may fail in a row, each after ten tries of botocore, before the watch is given up.
PATIENCE = 5
LOGS = "/aws/sagemaker/TrainingJobs"
ENDED = ("Completed", "Failed", "Stopped")
#: States of an endpoint that AWS is still changing.
MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
Description = dict[str, Any]


def wait_until(
    ended: Callable[[Description], bool], describe: Callable[[], Description], line: Callable[[Description], str]
) -> Description:
    """The description once it has ended; its line is printed when it changes, an empty one is not."""
    shown = ""
    while True:
        found = describe()
        if (text := line(found)) != shown:
            print(text, flush=True)
            shown = text
        if ended(found):
            return found
        time.sleep(POLL)


def settled(sagemaker: Any, name: str, show: bool = False) -> Description:
    """The description of an endpoint once AWS does not change it any more. Lost connections are botocore's to retry."""
    return wait_until(
        lambda found: found["EndpointStatus"] not in MOVING,
        lambda: sagemaker.describe_endpoint(EndpointName=name),
        lambda found: f"endpoint {name}: {found['EndpointStatus']}" if show else "",
    )


def follow(sagemaker: Any, name: str, log: JobLog | None) -> Description:
    """The description of a training job once it has ended; prints its state and, with `log`, its log until then.

    Raises:
        ThoraxError: AWS cannot be reached any more; the job goes on.
        botocore's errors: AWS refuses.
    """
    from botocore.exceptions import ConnectionError, HTTPClientError

    shown, failures = "", 0
    while True:
        try:
            job: Description = sagemaker.describe_training_job(TrainingJobName=name)
            status = f"{job['TrainingJobStatus']} {job.get('SecondaryStatus', '')}".strip()
            if log and status != shown:
                print(f"job {name}: {status}", flush=True)
                shown = status
            for line in log.new_lines() if log else ():
                print(line, flush=True)
            if job["TrainingJobStatus"] in ENDED:
                return job
            failures = 0
        except (ConnectionError, HTTPClientError) as error:
            failures += 1
            kind = type(error).__name__
            if failures == PATIENCE:
                raise ThoraxError(
                    f"the line to AWS is lost ({kind}); job {name} goes on there; to watch it again:"
                    f" {follow_command(name)}"
                ) from None
            print(f"no answer from AWS ({kind}); the job goes on; trying again", file=sys.stderr, flush=True)
        time.sleep(POLL)


def follow_command(name: str) -> str:
    """The command that watches a training job."""
    return f"{command('follow')} {name}"


class JobLog:
    """The log of a training job, of all its machines, as far as it was not read yet.

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
            found = self._logs.describe_log_streams(logGroupName=LOGS, logStreamNamePrefix=f"{self._name}/")
        except ClientError as error:  # until the first job of an account has written, there is no such group
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return
        streams = [stream["logStreamName"] for stream in found["logStreams"]]
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
            after, before = page["nextForwardToken"], self._tokens.get(stream)
            self._tokens[stream] = after
            if not page["events"] or before == after:
                return
