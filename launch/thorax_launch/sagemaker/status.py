"""Waiting for what runs on AWS: its state as it changes, the log of a job, and lost connections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking import metric_log
from thorax.tracking.waiting import EVERY, Waiting
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


#: The machine's name before a line of a log, where there are several.
_HOST = re.compile(r"\[\S+\] ")
#: A container's line about its progress.
_PROGRESS = re.compile(r"^(?P<title>[^:]+): \w+ (?P<done>[\d,]+)/(?P<total>[\d,]+)(, |$)")


def settled(sagemaker: Any, name: str, show: bool = False) -> Description:
    """The description of an endpoint once AWS does not change it any more. Lost connections are botocore's to retry.

    Args:
        show: print its status when it changes.
    """
    shown = ""
    with Waiting(f"endpoint {name}") as waiting:
        while True:
            found: Description = sagemaker.describe_endpoint(EndpointName=name)
            status = str(found["EndpointStatus"])
            if show and status != shown:
                waiting.say(f"endpoint {name}: {status}")
                shown = status
            if status not in MOVING:
                return found
            waiting.update(note=status)
            waiting.pause(POLL)


@dataclass(frozen=True)
class Watched:
    """A job that is watched: its kind, what names it in calls, and a description of a moment ago, or None."""

    kind: Kind
    name: str
    known: Description | None = None


@dataclass(frozen=True)
class Shown:
    """What is shown of a job while it is watched.

    Attributes:
        line: of a description, printed when it changes; "" prints nothing.
        counts: of a description, fields of a State: how far it is.
        log: is printed as it comes; None: nothing is.
        live: whether it is shown that it goes on, and since when.
    """

    line: Callable[[Description], str]
    counts: Callable[[Description], Mapping[str, Any]]
    log: JobLog | None = None
    live: bool = True


def follow(job: Watched, sagemaker: Any, view: Shown) -> Description:
    """The description of a job once it has ended, in whatever way; until then what `view` shows of it.

    On a terminal a live line has how long it takes and how far it is, a training job's by its container's own lines.

    Args:
        job: which one.
        sagemaker: boto3's client.

    Raises:
        GoesOnError: AWS does not answer any more; the job goes on.
        botocore's errors: AWS refuses.
    """
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    kind, name, known, shown, failures = job.kind, job.name, job.known, "", 0
    title, state = f"{kind.words} {name}", ""
    with Waiting(title, EVERY, view.live) as waiting:
        while True:
            try:
                found, known = known or kind.describe(sagemaker, name), None
                if (text := view.line(found)) and text != shown:
                    waiting.say(text)
                    shown = text
                if (now := _state(kind, found)) != state:
                    state = now
                    waiting.update(_began(found), title=title, done=0, total=0, note=state)
                waiting.update(**view.counts(found))
                for entry in view.log.new_lines() if view.log else ():
                    _show(entry, waiting)
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
                waiting.say(f"no answer from AWS ({why}); the {kind.words} goes on; trying again", error=True)
            waiting.pause(POLL)


def _show(line: str, waiting: Waiting) -> None:
    """A line of a job's log, as a person reads it; on a terminal one about progress moves the live line instead."""
    if not waiting.live:
        waiting.say(line)
        return
    host = found[0] if (found := _HOST.match(line)) else ""
    own = line.removeprefix(host)
    if found := _PROGRESS.match(own):
        done, total = (int(found[key].replace(",", "")) for key in ("done", "total"))
        waiting.update(title=found["title"], done=done, total=total, note=own[found.end() :])
    elif (text := metric_log.readable(own)) is not None:
        waiting.say(f"{host}{text}")


def _began(described: Description) -> float | None:
    """Seconds since 1970 at which AWS made it; None where it does not say."""
    made = described.get("CreationTime")
    return made.timestamp() if isinstance(made, datetime) else None


def _state(kind: Kind, described: Description) -> str:
    """AWS's words for its state, the exact one too."""
    exact = str(described.get("SecondaryStatus", ""))
    return f"{kind.state(described)} {exact}".rstrip()


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
