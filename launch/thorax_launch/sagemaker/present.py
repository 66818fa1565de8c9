"""What an endpoint that is there already allows: AWS fails some updates of one that is autoscaled."""

from __future__ import annotations

from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.autoscaling import scaling_target
from thorax_launch.sagemaker.errors import if_there
from thorax_launch.sagemaker.hosting import HostingSpec


def check_machine(spec: HostingSpec, session: Any, before: str, region: str) -> None:
    """AWS fails an update that changes the machine of a variant under autoscaling.

    Raises:
        ThoraxError: this one would.
    """
    sagemaker, name = client(session, "sagemaker"), spec.endpoint_name
    found = if_there(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=before)) or {
        "ProductionVariants": []
    }
    machines = {variant["VariantName"]: _types(variant) for variant in found["ProductionVariants"]}
    if spec.variants and _is_scaled(session, name):
        raise ThoraxError(
            f"endpoint {name} is autoscaled, and its variant main would go: first run {_end_of_scaling(name, region)},"
            " then this command again"
        )
    new = spec.instance_type if spec.machine else "serverless"
    old = machines.get("main", new)
    if old != new and _is_scaled(session, name):
        again = "this command again" if new == "serverless" else "this command again with --autoscale LOW,HIGH"
        raise ThoraxError(
            f"endpoint {name} is autoscaled on {old}, and AWS does not change that to {new}: first run"
            f" {_end_of_scaling(name, region)}, then {again}"
        )


def _end_of_scaling(name: str, region: str) -> str:
    """The command that ends an endpoint's autoscaling."""
    return (
        "`aws application-autoscaling deregister-scalable-target --service-namespace sagemaker --resource-id"
        f" endpoint/{name}/variant/main --scalable-dimension sagemaker:variant:DesiredInstanceCount --region {region}`"
    )


def _types(variant: dict[str, Any]) -> str:
    """The machines of a variant, as --instance-type names them."""
    pools = sorted(variant.get("InstancePools", []), key=lambda pool: pool["Priority"])
    return ",".join(pool["InstanceType"] for pool in pools) or variant.get("InstanceType", "serverless")


def _is_scaled(session: Any, endpoint_name: str) -> bool:
    found = client(session, "application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[scaling_target(endpoint_name)["ResourceId"]]
    )
    return bool(found["ScalableTargets"])
