"""What jobs, searches and endpoints on AWS have in common: a name, a status, and an end to what they cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, ClassVar, Self

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client, open_session, place
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.schema import input_shape
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
    """A job that runs until it is done or stopped; a `with` block stops it where it still runs."""

    def stop(self) -> None:
        """Asks AWS to stop it; what it wrote stays.

        Raises:
            ThoraxError: AWS refuses.
        """
        self._call("Stop")

    def end(self) -> None:
        """Stops it where it still runs."""
        if self.status() == "InProgress":
            self.stop()
            print(f"{self.resource} {self.name} is being stopped", flush=True)
