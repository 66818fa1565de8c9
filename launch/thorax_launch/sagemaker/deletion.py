"""What belongs to an endpoint, and how it goes away.

Scaling and its alarm, endpoint, configuration, model, in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thorax_launch.sagemaker import endpoints
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.settings import AwsSettings

#: How AWS's services say that there is no such thing.
_GONE = ("Could not find", "No scalable target found", "ResourceNotFound")


@dataclass(frozen=True)
class DeleteCall:
    """One thing to delete: what it is, and the call that does it."""

    what: str
    service: str
    call: str
    arguments: dict[str, Any]


def of_endpoint(name: str, settings: AwsSettings) -> list[DeleteCall]:
    """Everything that an endpoint is made of and nothing else; S3 keeps bundle, captures and results.

    Raises:
        ThoraxError: there is no such endpoint, or AWS refuses.
    """
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    with one_line_errors(settings):
        config = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
        resources = [f"endpoint/{name}/variant/{variant['VariantName']}" for variant in variants]
        scaled = client(session, "application-autoscaling").describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=resources
        )["ScalableTargets"]
        wakes = client(session, "cloudwatch").describe_alarms(AlarmNames=[endpoints.wake(name)])["MetricAlarms"]
    scaling = [
        DeleteCall(
            f"autoscaling of {one['ResourceId']}",
            "application-autoscaling",
            "deregister_scalable_target",
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": one["ResourceId"],
                "ScalableDimension": one["ScalableDimension"],
            },
        )
        for one in scaled
    ]
    alarms = [alarm(name)] if wakes else []
    models = [
        DeleteCall(f"model {variant['ModelName']}", "sagemaker", "delete_model", {"ModelName": variant["ModelName"]})
        for variant in variants
        if variant.get("ModelName")
    ]
    endpoint = DeleteCall(f"endpoint {name}", "sagemaker", "delete_endpoint", {"EndpointName": name})
    configuration = DeleteCall(
        f"endpoint configuration {config}", "sagemaker", "delete_endpoint_config", {"EndpointConfigName": config}
    )
    return [*scaling, *alarms, endpoint, configuration, *models]


def alarm(endpoint: str) -> DeleteCall:
    """The alarm that wakes an asynchronous endpoint.

    AWS deletes the alarms that it makes for scaling policies, not this one of ours.
    """
    return DeleteCall(
        f"alarm {endpoints.wake(endpoint)}", "cloudwatch", "delete_alarms", {"AlarmNames": [endpoints.wake(endpoint)]}
    )


def delete(things: list[DeleteCall], settings: AwsSettings) -> None:
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
                if not any(words in str(error) for words in _GONE):
                    raise
        print(f"deleted {thing.what}", flush=True)


def running(settings: AwsSettings) -> list[str]:
    """Names of this project's endpoints that are still there, each billed by the hour, by their tag project=thorax."""
    sagemaker = client(open_session(settings), "sagemaker")
    found = []
    with one_line_errors(settings):
        for page in sagemaker.get_paginator("list_endpoints").paginate():
            for one in page["Endpoints"]:
                tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=one["EndpointArn"])["Tags"]}
                if tags.get("project") == "thorax":
                    found.append(one["EndpointName"])
    return found
