"""Taking back a deployment that failed: nothing of it is left running, and what was there before answers again."""

from __future__ import annotations

from dataclasses import dataclass, field

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.sagemaker import deletion
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.autoscaling import errors, wake
from thorax_launch.sagemaker.capacity import Capacity
from thorax_launch.sagemaker.deletion import DeleteCall, delete_all
from thorax_launch.sagemaker.endings import StoppedError, Terminated, stopped_by
from thorax_launch.sagemaker.errors import if_there, one_line_errors
from thorax_launch.sagemaker.status import settled
from thorax_launch.settings import AwsSettings


@dataclass
class Undo:
    """What a deployment may have made so far.

    Attributes:
        endpoint_name: of the endpoint.
        revision: name of the new model and configuration.
        before: the configuration that the endpoint had; "" where there was no endpoint.
        models: names of models whose making was begun.
        configuration, endpoint, scaling, alarm: whether the call that makes it was begun.
        old_models: those of the configuration before, which go once the new ones answer.
        had_errors_alarm: whether the endpoint had the alarm that rolls updates back.
        errors_alarm: whether the call that makes that alarm anew was begun.
        capacity: machines and autoscaling that the endpoint had.
    """

    endpoint_name: str
    revision: str
    before: str
    settings: AwsSettings
    models: list[str] = field(default_factory=list)
    configuration: bool = False
    endpoint: bool = False
    scaling: bool = False
    alarm: bool = False
    had_errors_alarm: bool = False
    errors_alarm: bool = False
    capacity: Capacity | None = None
    old_models: tuple[str, ...] = ()

    def taken_back(self, error: BaseException) -> ThoraxError:
        """Takes it back; the error to raise, whose one line says what went wrong and what is left."""
        if isinstance(error, KeyboardInterrupt | Terminated):
            return StoppedError(self(), error)
        return ThoraxError(f"{stopped_by(error)}; {self()}")

    def __call__(self) -> str:
        """Takes it back; says in a few words what is left."""
        name = self.endpoint_name
        try:
            with one_line_errors(self.settings):
                if self.endpoint:
                    self._endpoint()
            delete_all(self._parts(), self.settings)
        except BaseException as error:  # whatever it is, the line must name what may run
            return (
                f"taking it back failed too ({stopped_by(error)}): endpoint {name}{self._alarms()} may run and cost;"
                f" see to it: {command('delete')} {name}"
            )
        return (
            f"endpoint {name} answers as before" if self.before else "nothing of it is left on AWS but the bundle in S3"
        )

    def _alarms(self) -> str:
        """The alarms that may be left, as words of a line."""
        made = ((self.errors_alarm, errors), (self.alarm, wake))
        return "".join(f" and alarm {name(self.endpoint_name)}" for begun, name in made if begun)

    def forget_old(self) -> None:
        """After an update: the old configuration and its models, where these scripts made them."""
        own = f"{self.endpoint_name}-"
        if self.before.startswith(own) and self.before != self.revision:
            models = [deletion.model(name) for name in self.old_models if name.startswith(own)]
            try:
                delete_all([deletion.configuration(self.before), *models], self.settings)
            except ThoraxError as error:
                print(f"note: {error}; {self.before} is left; it costs nothing")

    def _endpoint(self) -> None:
        name = self.endpoint_name
        sagemaker = client(open_session(self.settings), "sagemaker")
        if if_there(lambda: sagemaker.describe_endpoint(EndpointName=name)) is None:
            return
        print(f"taking back endpoint {name}, as soon as AWS lets it; by hand: {command('delete')} {name}", flush=True)
        now = settled(sagemaker, name)
        if not self.before:
            if now["EndpointConfigName"] != self.revision:
                return  # another deployment has made one of that name meanwhile
            scaling = [deletion.scaling(name)] if self.scaling else []
            alarm = [deletion.alarm(name)] if self.scaling and self.alarm else []
            delete_all([*scaling, *alarm, deletion.endpoint(name)], self.settings)
        elif now["EndpointConfigName"] != self.before:
            scaled = bool(self.capacity and self.capacity.targets)
            sagemaker.update_endpoint(
                EndpointName=name, EndpointConfigName=self.before, RetainAllVariantProperties=scaled
            )
            if (now := settled(sagemaker, name))["EndpointStatus"] != "InService":
                raise ThoraxError(f"it is {now['EndpointStatus']}")
        if self.before and self.capacity:
            self.capacity.restore(open_session(self.settings), autoscaling=self.scaling)

    def _parts(self) -> list[DeleteCall]:
        own = [deletion.named_alarm(errors(self.endpoint_name))] if self.errors_alarm else []
        return [
            *own,
            *([deletion.configuration(self.revision)] if self.configuration else []),
            *map(deletion.model, self.models),
        ]
