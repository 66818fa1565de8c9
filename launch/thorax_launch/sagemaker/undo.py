"""Taking back a deployment that failed: nothing of it is left running, and what was there before answers again."""

from __future__ import annotations

from dataclasses import dataclass

from thorax.errors import ThoraxError
from thorax_launch.sagemaker import deletion
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.sagemaker.deletion import DeleteCall
from thorax_launch.sagemaker.errors import refused, settled
from thorax_launch.settings import AwsSettings


@dataclass
class Undo:
    """What a deployment may have made so far.

    Attributes:
        endpoint_name: of the endpoint.
        revision: name of the new model and configuration.
        before: the configuration that the endpoint had; "" where there was no endpoint.
        model, configuration, endpoint, scaling, alarm: whether the call that makes it was begun.
    """

    endpoint_name: str
    revision: str
    before: str
    settings: AwsSettings
    model: bool = False
    configuration: bool = False
    endpoint: bool = False
    scaling: bool = False
    alarm: bool = False

    def __call__(self) -> str:
        """Does it; says in a few words what is left."""
        name = self.endpoint_name
        try:
            with one_line_errors(self.settings):
                if self.endpoint:
                    self._endpoint()
            deletion.delete(self._parts(self.revision), self.settings)
        except (ThoraxError, KeyboardInterrupt) as error:
            return (
                f"taking it back failed too ({str(error) or 'Ctrl-C'}): the endpoint may run and cost; see to it:"
                f" python launch/delete.py {name}"
            )
        return (
            f"endpoint {name} answers as before" if self.before else "nothing of it is left on AWS but the bundle in S3"
        )

    def forget_old(self) -> None:
        """After an update: the old configuration and its model, where these scripts made them."""
        if self.before.startswith(f"{self.endpoint_name}-") and self.before != self.revision:
            try:
                deletion.delete(self._parts(self.before, old=True), self.settings)
            except ThoraxError as error:
                print(f"note: {error}; {self.before} is left; it costs nothing")

    def _endpoint(self) -> None:
        sagemaker = client(open_session(self.settings), "sagemaker")
        if refused(lambda: sagemaker.describe_endpoint(EndpointName=self.endpoint_name)) is None:
            return
        print(f"taking back endpoint {self.endpoint_name}, as soon as AWS lets it", flush=True)
        now = settled(sagemaker, self.endpoint_name)
        if not self.before and now["EndpointConfigName"] != self.revision:
            return  # somebody else made one of that name meanwhile
        if not self.before:
            if self.scaling:
                deletion.delete(
                    [_scaling(self.endpoint_name), *([deletion.alarm(self.endpoint_name)] if self.alarm else [])],
                    self.settings,
                )
            deletion.delete(
                [
                    DeleteCall(
                        f"endpoint {self.endpoint_name}",
                        "sagemaker",
                        "delete_endpoint",
                        {"EndpointName": self.endpoint_name},
                    )
                ],
                self.settings,
            )
        elif now["EndpointConfigName"] != self.before:
            sagemaker.update_endpoint(
                EndpointName=self.endpoint_name, EndpointConfigName=self.before, RetainAllVariantProperties=False
            )
            if (now := settled(sagemaker, self.endpoint_name))["EndpointStatus"] != "InService":
                raise ThoraxError(f"it is {now['EndpointStatus']}")

    def _parts(self, revision: str, old: bool = False) -> list[DeleteCall]:
        configuration = DeleteCall(
            f"endpoint configuration {revision}",
            "sagemaker",
            "delete_endpoint_config",
            {"EndpointConfigName": revision},
        )
        model = DeleteCall(f"model {revision}", "sagemaker", "delete_model", {"ModelName": revision})
        return [*([configuration] if self.configuration or old else []), *([model] if self.model or old else [])]


def _scaling(endpoint: str) -> DeleteCall:
    return DeleteCall(
        f"autoscaling of {endpoint}",
        "application-autoscaling",
        "deregister_scalable_target",
        {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{endpoint}/variant/main",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        },
    )
