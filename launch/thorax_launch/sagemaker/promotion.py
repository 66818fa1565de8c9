"""`thorax deploy shadow:ENDPOINT`: the shadow variant's bundle answers from now on, as its own record says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.names import clean, dated
from thorax_launch.options import EndpointOptions, entries
from thorax_launch.sagemaker import shadows
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.capacity import Capacity
from thorax_launch.sagemaker.deployment import apply_update, finish_update
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.hosting import HostingSpec, was_shadow
from thorax_launch.sagemaker.requests import AwsRequest, commit, tags
from thorax_launch.sagemaker.rollouts import Rollout
from thorax_launch.sagemaker.schema import input_shape
from thorax_launch.sagemaker.smoke_tests import smoke_test
from thorax_launch.sagemaker.summaries import Summary
from thorax_launch.sagemaker.undo import Undo
from thorax_launch.settings import AwsSettings

#: Begins what names an endpoint's shadow in place of a bundle.
PREFIX = "shadow:"
#: Options that say how an update goes; all others are those of the record.
_ALLOWED = ("canary", "linear", "rolling", "bake_minutes", "alarm")


@dataclass(frozen=True)
class Promotion:
    """An endpoint's new configuration: its shadow variant alone, as main.

    Attributes:
        spec: the endpoint, and the name of the new configuration.
        request: the configuration.
        before: the configuration with the shadow.
        comparison: of both variants, in lines.
    """

    spec: HostingSpec
    request: AwsRequest
    before: str
    rollout: Rollout
    comparison: str

    def summary(self) -> Summary:
        """What changes, and how the two did."""
        (new,) = self.request.parameters["ProductionVariants"]
        machines = f"{new.get('InitialInstanceCount', 1)} x {new.get('InstanceType', 'several types')}"
        does = f"endpoint {self.spec.endpoint_name}: model {new['ModelName']} on {machines} answers"
        return Summary((does,), notes=(self.comparison,), verb="changes")


def check_options(options: EndpointOptions) -> None:
    """Raises ThoraxError for an option that would not be that of the shadow's record."""
    for entry in entries(EndpointOptions):
        if entry.name not in _ALLOWED and getattr(options, entry.name) != entry.default:
            raise ThoraxError(
                f"{entry.flag} with {PREFIX}ENDPOINT: the shadow comes into service as it is; only --canary, --linear,"
                " --rolling, --bake-minutes and --alarm say how"
            )


def plan(name: str, options: EndpointOptions, settings: AwsSettings, offline: bool = False) -> Promotion | None:
    """The promotion of an endpoint's shadow, by its record; None where it is done already, with a line.

    Args:
        name: shadow:ENDPOINT.
        offline: nothing may be asked of AWS.

    Raises:
        ThoraxError: no such endpoint, it has no shadow, it cannot be updated now, or `offline`.
    """
    endpoint = name.removeprefix(PREFIX)
    check_options(options)
    if not endpoint or clean(endpoint) != endpoint:
        raise ThoraxError(f"{name} must be shadow:ENDPOINT, such as shadow:chest")
    if offline:
        raise ThoraxError(f"{name} with --dry-run: only AWS knows the shadow; without --yes nothing is done either")
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    with one_line_errors(settings):
        found = sagemaker.describe_endpoint(EndpointName=endpoint)
        before = str(found["EndpointConfigName"])
        config = sagemaker.describe_endpoint_config(EndpointConfigName=before)
        if found["EndpointStatus"] != "InService":
            raise ThoraxError(f"endpoint {endpoint} is {found['EndpointStatus']} and cannot be updated now: wait")
        if not config.get("ShadowProductionVariants"):
            if was_shadow(config["ProductionVariants"][0].get("ModelName", "")):
                print(f"endpoint {endpoint} has no shadow variant; what was its shadow answers", flush=True)
                return None
            raise ThoraxError(f"endpoint {endpoint} has no shadow variant; `thorax deploy BUNDLE --shadow` makes one")
        comparison = shadows.comparison(endpoint, session)
    spec = HostingSpec(dated(endpoint), "", endpoint=endpoint)
    request = AwsRequest.checked("EndpointConfig", _without_shadow(config, spec.name, settings), by_boto3=True)
    return Promotion(spec, request, before, Rollout.of(options, spec), comparison)


def _without_shadow(config: dict[str, Any], name: str, settings: AwsSettings) -> dict[str, Any]:
    """The configuration with the shadow variant in the place of the main one."""
    (main,), (shadow,) = config["ProductionVariants"], config["ShadowProductionVariants"]
    own = {key: main[key] for key in ("VariantName", "InitialInstanceCount", "InitialVariantWeight") if key in main}
    known = input_shape("CreateEndpointConfig").members
    kept = {key: value for key, value in config.items() if key in known and key != "ShadowProductionVariants"}
    new = {**kept, "EndpointConfigName": name, "ProductionVariants": [{**shadow, **own}]}
    return {**new, "Tags": tags(settings, commit=commit())}


def make(promotion: Promotion, settings: AwsSettings) -> None:
    """Updates the endpoint and waits until it answers; the model that answered before is deleted then.

    Raises:
        ThoraxError: it could not be updated or does not answer; it is as before then, shadow included.
    """
    session, spec = open_session(settings), promotion.spec
    undo = Undo(spec.endpoint_name, spec.name, promotion.before, settings)
    try:
        with one_line_errors(settings):
            undo.capacity = Capacity.of(spec.endpoint_name, session)
            undo.configuration = True
            promotion.request.send(session)
            apply_update(promotion.rollout, spec, session, undo)
            smoke_test(spec, settings, session)
    except BaseException as error:  # every way out: AWS's errors, the SDK's, Ctrl-C, SIGTERM
        raise undo.taken_back(error) from error
    finish_update(undo, spec, settings)
