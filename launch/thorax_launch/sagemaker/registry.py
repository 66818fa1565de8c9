"""The model registry: a bundle with its metrics and a model card, in a group."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from thorax.serving.bundle import Bundle
from thorax_launch.sagemaker.bundles import S3Bundle
from thorax_launch.sagemaker.hosting import HostingSpec, Tags, model_package
from thorax_launch.sagemaker.package import Upload
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.settings import AwsSettings

PURPOSE = (
    "Research and teaching: probabilities of findings in chest X-rays. Not a medical device; no diagnosis may rest"
    " on it."
)


@dataclass(frozen=True)
class Registration:
    """One entry of the registry."""

    group: str
    request: AwsRequest
    uploads: tuple[Upload, ...]
    tags: Tags


def registration(
    bundle: S3Bundle, described: Bundle, spec: HostingSpec, group: str, settings: AwsSettings, tags: Tags
) -> Registration:
    """The request that registers a bundle, and its metrics.json, which goes to S3.

    Raises:
        ThoraxError: what AWS would refuse.
    """
    metrics = f"{settings.root}/bundles/{bundle.digest}/metrics.json"
    content = json.dumps(described.metrics, indent=1).encode()
    request = model_package(spec, group, settings, metrics, json.dumps(model_card(described)))
    return Registration(group, request, (Upload(metrics, content),), tags)


def model_card(described: Bundle) -> dict[str, Any]:
    """A model card by the schema that SageMaker has for model packages: use, training, and the scores of each part."""
    groups = [
        {"name": f"{described.network}, {part}", "metric_data": data}
        for part in ("validation", "test")
        if (data := _data(described.metrics.get(part)))
    ]
    labels = ", ".join(described.space.outputs)
    return {
        "model_overview": {"model_creator": "thorax"},
        "intended_uses": {
            "purpose_of_model": PURPOSE,
            "intended_uses": (
                f"Labels: {labels}. Images as those it was trained on: {described.preprocessing.height} x"
                f" {described.preprocessing.width} pixels."
            ),
            "factors_affecting_model_efficiency": (
                "Other machines, ages, views and hospitals than those of the training images."
            ),
            "risk_rating": "High",
        },
        "training_details": {"training_observations": json.dumps(described.configuration, sort_keys=True)[:1024]},
        **({"evaluation_details": [{"name": "images held out by patient", "metric_groups": groups}]} if groups else {}),
    }


def _data(scores: dict[str, Any] | None) -> list[dict[str, Any]]:
    values = {
        name: score.get("value") if isinstance(score, dict) else score
        for name, score in ((scores or {}).get("macro") or {}).items()
    }
    return [
        {"name": name, "type": "number", "value": value} for name, value in values.items() if isinstance(value, float)
    ]


def register(entry: Registration, sagemaker: Any) -> str:
    """Makes the group where there is none, and the entry. Its ARN."""
    from botocore.exceptions import ClientError

    try:
        sagemaker.create_model_package_group(ModelPackageGroupName=entry.group, Tags=entry.tags)
    except ClientError as error:
        if "already exists" not in str(error):
            raise
    return str(sagemaker.create_model_package(**entry.request.parameters)["ModelPackageArn"])
