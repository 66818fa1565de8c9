"""The container images that jobs and endpoints run, by the ARNs of their repositories."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.debugger import RULES, rule_image
from thorax_launch.sagemaker.hosting import SERVERS, HostingSpec, image
from thorax_launch.sagemaker.machines import aws_image
from thorax_launch.sagemaker.training_jobs import TORCH
from thorax_launch.settings import AwsSettings

#: URI of an image in ECR.
_ECR = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z0-9.-]+/([^:@]+)(?:[:@].*)?")


def repositories(settings: AwsSettings, partition: str) -> list[str]:
    """ARNs of the repositories of every image that the commands name in the settings' region; sorted.

    The settings' own images, where they are in ECR, and AWS's: PyTorch for training, its servers, Debugger's rules.
    What AWS does not have in that region is left out, as no command can name it there.
    """
    found = {settings.training_image, settings.serving_image}
    region = settings.region
    own = replace(settings, training_image="", serving_image="")
    makers: list[Callable[[], str]] = [partial(aws_image, "pytorch", TORCH, "ml.m5.large", region, "training")]
    makers += [partial(image, HostingSpec("", "", server=server), own) for server in SERVERS]
    makers.append(partial(rule_image, RULES[0], region))
    for make in makers:
        try:
            found.add(make())
        except ThoraxError:
            continue
    matches = [match for uri in found if (match := _ECR.fullmatch(uri))]
    return sorted({f"arn:{partition}:ecr:{m[2]}:{m[1]}:repository/{m[3]}" for m in matches})
