"""Waiting for what runs on AWS: its state as it changes, the log of a job, and lost connections."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.sagemaker.endings import GoesOnError, ended
from thorax_launch.sagemaker.errors import busy, not_there, one_line, one_line_errors
from thorax_launch.sagemaker.kinds import Kind
from thorax_launch.settings import AwsSettings

#: Seconds between two looks.
POLL = 10.0
#: Looks that may fail in a row, each after ten tries of botocore, before the watch is given up.
PATIENCE = 5
LOGS = "/aws/sagemaker/TrainingJobs"
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


@dataclass(frozen=True)
class Watched:
    """A job that is watched: its kind, what names it in calls, and a description of a moment ago, or None."""

    kind: Kind
    name: str
    known: Description | None = None


def follow(job: Watched, sagemaker: Any, line: Callable[[Description], str], log: JobLog | None) -> Description:
    """The description of a job once it has ended, in whatever way; until then its line when it changes, and its log.

    Args:
        job: which one.
        sagemaker: boto3's client.
        line: of a description; "" prints nothing.
        log: is printed as it comes; None: nothing is.

    Raises:
        GoesOnError: AWS does not answer any more; the job goes on.
        botocore's errors: AWS refuses.
    """
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    kind, name, known, shown, failures = job.kind, job.name, job.known, "", 0
    while True:
        try:
            found, known = known or kind.describe(sagemaker, name), None
            if (text := line(found)) and text != shown:
                print(text, flush=True)
                shown = text
            for entry in log.new_lines() if log else ():
                print(entry, flush=True)
            if ended(kind, found):
                return found
            failures = 0
        except (ClientError, ConnectionError, HTTPClientError) as error:
            if isinstance(error, ClientError) and not busy(error):
                raise
            failures += 1
            why = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            if failures == PATIENCE:
                raise GoesOnError(f"the line to AWS is lost ({why}); {goes_on(kind.words, name)}") from None
            print(f"no answer from AWS ({why}); the {kind.words} goes on; trying again", file=sys.stderr, flush=True)
        time.sleep(POLL)


def goes_on(words: str, name: str) -> str:
    """The end of a line about a job that is not watched any more."""
    return f"{words} {name} goes on there; to watch it again: {follow_command(name)}"


@contextmanager
def while_it_goes_on(words: str, name: str, settings: AwsSettings, then: str = "") -> Iterator[None]:
    """Turns what botocore raises while a job is watched into one line that says that it goes on, and how to rejoin.

    Args:
        words: of its kind.
        name: of the job.
        settings: where it is.
        then: the end of the line, such as what fetches its results.

    Raises:
        GoesOnError: AWS refuses or does not answer.
        ThoraxError: there is no such job.
    """
    from botocore.exceptions import ClientError

    try:
        with one_line_errors(settings):
            try:
                yield
            except ClientError as error:
                if not_there(error):
                    raise ThoraxError(f"there is no {words} {name}: {one_line(error)}") from None
                raise
    except GoesOnError as error:
        raise GoesOnError(f"{error}{then}") from None
    except ThoraxError as error:
        if type(error) is not ThoraxError or str(error).startswith(("there is no ", f"{name} is the name of several")):
            raise
        raise GoesOnError(f"{error}; {goes_on(words, name)}{then}") from None


def follow_command(name: str) -> str:
    """The command that watches a job of any kind."""
    return f"{command('follow')} {name}"


class JobLog:
    """The log of a job, of all its machines, as far as it was not read yet.

    Attributes:
        last: the newest lines that were read, 20 at most.
        shown: how many lines were handed out.
    """

    def __init__(self, logs: Any, name: str, group: str = LOGS) -> None:
        self._logs, self._name, self._group = logs, name, group
        self._tokens: dict[str, str] = {}
        self.last: list[str] = []
        self.shown = 0

    def new_lines(self) -> Iterator[str]:
        """Lines since the last call; with several machines each begins with its machine."""
        from botocore.exceptions import ClientError

        try:
            found = self._logs.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=f"{self._name}/")
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
            place = {"logGroupName": self._group, "logStreamName": stream, **token}
            page = self._logs.get_log_events(startFromHead=True, **place)
            yield from (event["message"] for event in page["events"])
            after, before = page["nextForwardToken"], self._tokens.get(stream)
            self._tokens[stream] = after
            if not page["events"] or before == after:
                return
