"""From a bundle to an endpoint that answers: made, waited for, tried with an image.

Taken back where any of it fails.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker import cost, endpoints, submission
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.sagemaker.bundles import Shipped
from thorax_launch.sagemaker.endpoints import Host
from thorax_launch.sagemaker.errors import refused, settled
from thorax_launch.sagemaker.registry import Registration, register
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.smoke_tests import smoke_test
from thorax_launch.sagemaker.undo import Undo
from thorax_launch.settings import AwsSettings


@dataclass(frozen=True)
class Deployment:
    """All that is sent for one endpoint, checked.

    Attributes:
        host: what serves, and how.
        requests: model, endpoint configuration, endpoint.
        scaling: calls of application-autoscaling, and cloudwatch's put_metric_alarm; may be empty.
        registration: in the model registry, or None.
    """

    host: Host
    bundle: Shipped
    settings: AwsSettings
    requests: tuple[AwsRequest, AwsRequest, AwsRequest]
    scaling: tuple[tuple[str, dict[str, Any]], ...] = ()
    registration: Registration | None = None

    @property
    def uploads(self) -> tuple[Any, ...]:
        return self.bundle.uploads + (self.registration.uploads if self.registration else ())

    def show(self) -> None:
        """--dry-run: every request as JSON on standard output; files and cost on standard error."""
        calls: dict[str, Any] = {request.operation: request.as_dict() for request in self.requests}
        for name, arguments in self.scaling:
            operation = "".join(word.capitalize() for word in name.split("_"))
            calls[operation] = [calls[operation], arguments] if operation in calls else arguments
        if self.registration:
            calls[self.registration.request.operation] = self.registration.request.as_dict()
        print(json.dumps(calls, indent=2))
        print(self.summary(), file=sys.stderr)
        print(
            f"note:     where endpoint {self.host.answers_as} exists, UpdateEndpoint takes the place of CreateEndpoint",
            file=sys.stderr,
        )

    def summary(self) -> str:
        """What would be uploaded, and what the endpoint costs."""
        prices = cost.Prices.load(Path(self.settings.prices)) if self.settings.prices else None
        machine = "" if self.host.kind == "serverless" else self.host.instance_type
        lines = [
            f"endpoint: {self.host.answers_as} ({self.host.kind}), bundle {self.bundle.uri}",
            *submission.files(self.uploads),
        ]
        return "\n".join([*lines, cost.hosting_told(machine, self.host.instance_count, self.settings.region, prices)])


def plan(
    host: Host,
    bundle: Shipped,
    settings: AwsSettings,
    tags: dict[str, str],
    autoscale: tuple[int, int] | None,
    per_minute: float,
    registration: Registration | None,
) -> Deployment:
    """The requests of an endpoint, checked against AWS's model; asks nothing of AWS and sends nothing.

    Raises:
        ThoraxError: what AWS would refuse, in one line.
    """
    requests = (
        endpoints.model(host, settings, tags),
        endpoints.endpoint_config(host, settings, tags),
        endpoints.endpoint(host, tags),
    )
    scaling = tuple(endpoints.autoscaling(host, *autoscale, per_minute)) if autoscale else ()
    return Deployment(host, bundle, settings, requests, scaling, registration)


def deploy(deployment: Deployment, *, yes: bool) -> bool:
    """Asks, uploads, makes or updates the endpoint, waits until it answers. False where the person said no.

    Raises:
        ThoraxError: it could not be made or does not answer (AWS's or the model's reason). What was made is deleted
            then, and an
            endpoint that was there before is as before.
    """
    settings, host = deployment.settings, deployment.host
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    with one_line_errors(settings):
        before = _configuration(sagemaker, host.answers_as)
        if before:
            _check_machine(deployment, session, before)
    print(
        deployment.summary() + (f"\nupdate:   it answers with {before} until then" if before else ""), file=sys.stderr
    )
    if not yes and not submission.confirmed("update it?" if before else "start it?"):
        return False
    submission.put(deployment.uploads, session, settings)
    undo = Undo(host.answers_as, host.name, before, settings)
    try:
        with one_line_errors(settings):
            _make(deployment, session, undo)
            smoke_test(host, settings, session)
            _scale(deployment, session, undo)
            if deployment.registration:
                print(f"registered: {register(deployment.registration, sagemaker)}", flush=True)
    except (ThoraxError, KeyboardInterrupt) as error:
        raise ThoraxError(f"{str(error) or 'stopped by Ctrl-C'}; {undo()}") from None
    if before:
        undo.forget_old()
    print(
        f"endpoint {host.answers_as} answers in {settings.region}; it costs until deleted: python launch/delete.py"
        f" {host.answers_as}"
    )
    return True


def _configuration(sagemaker: Any, name: str) -> str:
    """The configuration of an endpoint that is there; "" where there is none.

    Raises:
        ThoraxError: it is in a state in which it cannot be updated.
    """
    found = refused(lambda: sagemaker.describe_endpoint(EndpointName=name))
    if found is None:
        return ""
    if found["EndpointStatus"] not in ("InService", "UpdateRollbackFailed"):
        raise ThoraxError(
            f"endpoint {name} is {found['EndpointStatus']} and cannot be updated now: wait, or `python launch/delete.py"
            f" {name}`"
        )
    return str(found["EndpointConfigName"])


def _check_machine(deployment: Deployment, session: Any, before: str) -> None:
    """AWS fails an update that changes the machine of a variant under autoscaling.

    Raises:
        ThoraxError: this one would.
    """
    host, sagemaker = deployment.host, client(session, "sagemaker")
    found = refused(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=before)) or {"ProductionVariants": []}
    new = "serverless" if host.kind == "serverless" else host.instance_type
    old = next(
        (one.get("InstanceType", "serverless") for one in found["ProductionVariants"] if one["VariantName"] == "main"),
        new,
    )
    if old != new and _scaled(session, host):
        again = "this command again" if new == "serverless" else "this command again with --autoscale LOW,HIGH"
        raise ThoraxError(
            f"endpoint {host.answers_as} is autoscaled on {old}, and AWS does not change that to {new}: first run `aws"
            " application-autoscaling deregister-scalable-target --service-namespace sagemaker --resource-id"
            f" endpoint/{host.answers_as}/variant/main --scalable-dimension sagemaker:variant:DesiredInstanceCount"
            f" --region {deployment.settings.region}`, then {again}"
        )


def _make(deployment: Deployment, session: Any, undo: Undo) -> None:
    """Model, configuration and endpoint; returns once AWS says that it is in service with them."""
    model, configuration, endpoint = deployment.requests
    host, sagemaker = deployment.host, client(session, "sagemaker")
    undo.model = True
    model.send(session)
    undo.configuration = True
    configuration.send(session)
    undo.endpoint = True
    if undo.before:
        # the number of machines that autoscaling has come to stays
        sagemaker.update_endpoint(
            EndpointName=host.answers_as,
            EndpointConfigName=host.name,
            RetainAllVariantProperties=_scaled(session, host),
        )
    else:
        endpoint.send(session)
    print(f"endpoint {host.answers_as} is being {'updated' if undo.before else 'made'}; this takes minutes", flush=True)
    now = settled(sagemaker, host.answers_as, tell=True)
    if now["EndpointStatus"] != "InService" or now["EndpointConfigName"] != host.name:
        reason = " ".join(str(now.get("FailureReason", "no reason given")).split())
        raise ThoraxError(
            f"endpoint {host.answers_as} failed: {reason}; its log: CloudWatch"
            f" /aws/sagemaker/Endpoints/{host.answers_as}"
        )


def _scaled(session: Any, host: Host) -> bool:
    found = client(session, "application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{host.answers_as}/variant/main"]
    )
    return bool(found["ScalableTargets"])


def _scale(deployment: Deployment, session: Any, undo: Undo) -> None:
    scaling, policy = client(session, "application-autoscaling"), ""
    for call, arguments in deployment.scaling:
        undo.scaling = True
        if call == "put_metric_alarm":
            undo.alarm = True
            client(session, "cloudwatch").put_metric_alarm(**{**arguments, "AlarmActions": [policy]})
        else:
            policy = getattr(scaling, call)(**arguments).get("PolicyARN", "")
