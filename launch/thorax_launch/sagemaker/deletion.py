"""What belongs to an endpoint, and how it goes away: scaling and its alarm, endpoint, configuration, model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.alarms import endpoint_of
from thorax_launch.sagemaker.autoscaling import errors, scaling_target, wake
from thorax_launch.sagemaker.errors import not_there, one_line_errors
from thorax_launch.settings import AwsSettings

#: How AWS says that a job that is to be stopped has ended.
_ENDED = ("is in state", "is in status", "cannot be stopped", "has already", "already been", "not executing")


@dataclass(frozen=True)
class DeleteCall:
    """One thing to delete or to stop: what it is, and the call that does it.

    Attributes:
        what: kind and name.
        service: boto3's name of the service.
        call: boto3's name of the call.
        arguments: of the call.
        done: what the call came to, in a word.
    """

    what: str
    service: str
    call: str
    arguments: dict[str, Any]
    done: str = "deleted"


def endpoint_parts(name: str, settings: AwsSettings) -> list[DeleteCall]:
    """Everything that an endpoint is made of and nothing else; S3 keeps bundle, captures and results.

    Raises:
        ThoraxError: there is no such endpoint, or AWS refuses.
    """
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    with one_line_errors(settings):
        config = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
        described = sagemaker.describe_endpoint_config(EndpointConfigName=config)
        variants = described["ProductionVariants"]
        resources = [scaling_target(name, variant["VariantName"])["ResourceId"] for variant in variants]
        scaled = client(session, "application-autoscaling").describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=resources
        )["ScalableTargets"]
        alarms = client(session, "cloudwatch").describe_alarms(AlarmNames=[wake(name), errors(name)])["MetricAlarms"]
    return [
        *(scaling(name, target["ResourceId"].rpartition("/")[2]) for target in scaled),
        *(named_alarm(found["AlarmName"]) for found in alarms if endpoint_of(found) == name),
        endpoint(name),
        configuration(config),
        *map(model, models_of(described)),
    ]


def models_of(config: dict[str, Any]) -> list[str]:
    """Names of the models of an endpoint configuration, of its shadow variant too."""
    variants = [*config.get("ProductionVariants", []), *config.get("ShadowProductionVariants", [])]
    return [one["ModelName"] for one in variants if one.get("ModelName")]


def endpoint(name: str) -> DeleteCall:
    return DeleteCall(f"endpoint {name}", "sagemaker", "delete_endpoint", {"EndpointName": name})


def configuration(name: str) -> DeleteCall:
    arguments = {"EndpointConfigName": name}
    return DeleteCall(f"endpoint configuration {name}", "sagemaker", "delete_endpoint_config", arguments)


def model(name: str) -> DeleteCall:
    return DeleteCall(f"model {name}", "sagemaker", "delete_model", {"ModelName": name})


def scaling(endpoint_name: str, variant: str = "main") -> DeleteCall:
    target = scaling_target(endpoint_name, variant)
    what = f"autoscaling of {target['ResourceId']}"
    return DeleteCall(what, "application-autoscaling", "deregister_scalable_target", target)


def alarm(endpoint_name: str) -> DeleteCall:
    """The alarm that wakes an asynchronous endpoint.

    AWS deletes the alarms that it makes for scaling policies, not this one of ours.
    """
    return named_alarm(wake(endpoint_name))


def named_alarm(name: str) -> DeleteCall:
    """Any alarm."""
    return DeleteCall(f"alarm {name}", "cloudwatch", "delete_alarms", {"AlarmNames": [name]})


def delete_all(things: Iterable[DeleteCall], settings: AwsSettings) -> None:
    """Deletes one after the other; what is gone already is passed over.

    Raises:
        ThoraxError: AWS refuses one; those before it are gone, and the same command goes on.
    """
    from botocore.exceptions import ClientError

    session = open_session(settings)
    for thing in things:
        with one_line_errors(settings):
            try:
                getattr(client(session, thing.service), thing.call)(**thing.arguments)
            except ClientError as error:
                stopped = thing.done != "deleted" and any(words in str(error) for words in _ENDED)
                if not not_there(error) and not stopped:
                    raise
        print(f"{thing.done} {thing.what}", flush=True)
