"""An error at one call to AWS: the calls of a clean run are counted, then one of them fails in one way."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from sagemaker_stand_in import StandIn, failed

#: What can go wrong at a call; see Chaos.
KINDS = ("throttle", "expired", "validation", "reset", "timeout", "lost")


@dataclass
class Chaos:
    """Hooks of botocore over a stand-in.

    Attributes:
        stand_in: what answers.
        at: the call that fails, from 0; -1: none.
        kind: how: throttle and validation (AWS refuses), expired (this call and all after it), reset (no connection),
            timeout (done, but no answer), lost (done, no answer, and asked once more, as botocore's own retry does);
            bug (an error that nobody foresaw), Ctrl-C, or a signal by its name, which this process gets.
        count: calls so far.
        names: AWS's names of these calls.
    """

    stand_in: StandIn
    at: int = -1
    kind: str = ""
    count: int = 0
    names: list[str] = field(default_factory=list)

    def begin(self, at: int = -1, kind: str = "") -> None:
        self.at, self.kind, self.count, self.names = at, kind, 0, []

    def before(self, model: Any, **more: Any) -> Any:
        """before-call"""
        number, self.count = self.count, self.count + 1
        self.names.append(model.name)
        hit = number == self.at or (self.kind == "expired" and 0 <= self.at <= number)
        if hit and self.kind == "throttle":
            return _refused("ThrottlingException", "Rate exceeded")
        if hit and self.kind == "expired":
            return _refused("ExpiredTokenException", "The security token included in the request is expired")
        if hit and self.kind == "validation":
            return _refused("ValidationException", "1 validation error detected")
        if hit and self.kind == "reset":
            raise ConnectionClosedError(endpoint_url="https://aws")
        if hit and self.kind == "bug":
            raise RuntimeError("nobody foresaw\nthis")
        if hit and self.kind == "Ctrl-C":
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)  # from a thread of a download; the main thread gets it
        if hit and self.kind.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.kind))
        if hit and self.kind == "lost":
            self.stand_in.respond(model)
        return self.stand_in.respond(model)

    def after(self, **_: Any) -> None:
        """after-call"""
        if self.count - 1 == self.at and self.kind == "timeout":
            raise ReadTimeoutError(endpoint_url="https://aws")


def _refused(code: str, words: str) -> Any:
    from sagemaker_stand_in import _Http

    return _Http(400), failed(code, words).response
