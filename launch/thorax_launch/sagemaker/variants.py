"""Production variants: several bundles that share an endpoint's requests by weight, each on machines of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from thorax.errors import ThoraxError
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker.bundles import S3Bundle, in_s3
from thorax_launch.sagemaker.hosting import SHADOW, Variant
from thorax_launch.sagemaker.packages import weighted
from thorax_launch.settings import AwsSettings

#: Variants that AWS takes at one endpoint, and characters of a name: models are called ENDPOINT-DATE-NAME.
MOST, LONGEST = 10, 20


@dataclass(frozen=True)
class VariantBundle:
    """A bundle, and what the endpoint calls it."""

    variant: Variant
    bundle: S3Bundle


def variants(given: Mapping[str, str], settings: AwsSettings, offline: bool = False) -> tuple[VariantBundle, ...]:
    """What --variant NAME=BUNDLE[:WEIGHT] names; `offline`: see in_s3.

    Raises:
        ThoraxError: fewer than two, more than AWS takes, a name or weight that AWS does not take, or no bundle.
    """
    if not 2 <= len(given) <= MOST:
        raise ThoraxError(
            f"--variant is given {len(given)} times: 2 to {MOST} bundles share an endpoint; one alone is given as"
            " BUNDLE"
        )
    for name in given:
        if not re.fullmatch(rf"[a-zA-Z0-9](-*[a-zA-Z0-9]){{0,{LONGEST - 1}}}", name) or name == SHADOW:
            raise ThoraxError(
                f"--variant {name}=...: a variant's name is up to {LONGEST} letters, digits and hyphens, and not"
                f" {SHADOW}"
            )
    found = []
    for name, text in given.items():
        where, weight = weighted(text)
        bundle = in_s3(where, settings, offline)
        found.append(VariantBundle(Variant(name, bundle.uri, weight), bundle))
    check_weights({one.variant.name: one.variant.weight for one in found})
    return tuple(found)


def check_weights(weights: Mapping[str, float]) -> None:
    """Raises ThoraxError where nobody would get a request."""
    if not sum(weights.values()):
        raise ThoraxError(f"the weights of {', '.join(weights)} are all 0: at least one must be above 0")


def check(options: EndpointOptions, kind: str) -> None:
    """Raises ThoraxError for what AWS, or this project, does not do with several variants."""
    if not options.variant:
        return
    if not options.endpoint_name:
        raise ThoraxError("--variant: no one bundle gives the endpoint its name; give --endpoint-name NAME")
    if kind != "realtime":
        raise ThoraxError(f"--variant with --{kind}: AWS divides requests at real-time endpoints alone; leave one out")
    words = {"shadow": "AWS takes a shadow beside a single variant", "register": "register the bundle that wins"}
    words["autoscale"] = "set --instance-count; AWS scales each variant by itself, and this command knows one"
    guards = dict.fromkeys(("canary", "linear", "rolling", "alarm"), "AWS shifts traffic so for a single variant")
    for name, why in {**words, **guards}.items():
        if getattr(options, name):
            raise ThoraxError(f"--variant with --{name}: {why}; leave one out")


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Variant -> percent of the requests."""
    total = sum(weights.values())
    return {name: 100 * weight / total for name, weight in weights.items()}


def in_words(weights: Mapping[str, float]) -> str:
    """Such as `one 90 %, two 10 %`."""
    return ", ".join(f"{name} {share:.4g} %" for name, share in shares(weights).items())
