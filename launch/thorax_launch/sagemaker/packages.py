"""Bundles in the model registry: which there are, how good they are, and which of them may be deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.smoke_tests import read_object
from thorax_launch.settings import AwsSettings

#: What a bundle in the registry is named by.
ADDRESS = re.compile(r"registry:([A-Za-z0-9](?:-*[A-Za-z0-9]){0,62})(?:/(\d+))?")
APPROVED = "Approved"


@dataclass(frozen=True)
class Package:
    """One version in a group.

    Attributes:
        group: model package group.
        version: from 1.
        arn: AWS's name of it.
        status: Approved, Rejected or PendingManualApproval.
        uri: s3:// address of the bundle's model.tar.gz.
        metrics_uri: s3:// address of its metrics; "" where it has none.
        created: day, as AWS says it.
    """

    group: str
    version: int
    arn: str
    status: str
    uri: str
    metrics_uri: str
    created: str

    @property
    def name(self) -> str:
        return f"{self.group}/{self.version}"


class ModelRegistry:
    """The registry of an account and region. Every call raises ThoraxError where AWS refuses."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self._session = open_session(settings)
        self._sagemaker = client(self._session, "sagemaker")

    def packages(self, group: str) -> list[Package]:
        """All versions in a group, the newest first.

        Raises:
            ThoraxError: there is no such group, or it is empty.
        """
        with one_line_errors(self.settings):
            pages = self._sagemaker.get_paginator("list_model_packages").paginate(
                ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending"
            )
            arns = [found["ModelPackageArn"] for page in pages for found in page["ModelPackageSummaryList"]]
            packages = [self._described(arn) for arn in arns]
        if not packages:
            raise ThoraxError(f"group {group} of the model registry is empty; `{command('deploy')} --register {group}`")
        return sorted(packages, key=lambda package: -package.version)

    def _described(self, arn: str) -> Package:
        found: Any = self._sagemaker.describe_model_package(ModelPackageName=arn)
        quality = found.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {})
        return Package(
            found["ModelPackageGroupName"],
            int(found["ModelPackageVersion"]),
            found["ModelPackageArn"],
            found.get("ModelApprovalStatus", ""),
            found["InferenceSpecification"]["Containers"][0]["ModelDataUrl"],
            quality.get("S3Uri", ""),
            f"{found['CreationTime']:%Y-%m-%d}",
        )

    def package(self, group: str, version: int) -> Package:
        """One version.

        Raises:
            ThoraxError: there is none.
        """
        known = self.packages(group)
        for package in known:
            if package.version == version:
                return package
        versions = ", ".join(str(package.version) for package in known)
        raise ThoraxError(f"{group}/{version} is not in the model registry; there are {versions}")

    def deployable(self, group: str, version: int | None) -> Package:
        """The given version, or the newest that is approved.

        Raises:
            ThoraxError: it is not approved.
        """
        if version is None:
            known = self.packages(group)
            for package in known:
                if package.status == APPROVED:
                    return package
            raise ThoraxError(
                f"no bundle of group {group} is approved; look with `{command('registry')} list {group}`, then"
                f" `{command('registry')} approve {known[0].name}`"
            )
        package = self.package(group, version)
        if package.status != APPROVED:
            raise ThoraxError(
                f"{package.name} is {package.status}, and only an approved bundle is deployed: `{command('registry')}"
                f" approve {package.name}`"
            )
        return package

    def decide(self, package: Package, status: str, reason: str) -> None:
        """Approves or rejects it."""
        with one_line_errors(self.settings):
            self._sagemaker.update_model_package(**decision(package, status, reason))

    def metrics(self, package: Package) -> dict[str, float]:
        """part.metric -> value, of the averages over labels.

        Raises:
            ThoraxError: it has none, or they cannot be read.
        """
        with one_line_errors(self.settings):
            address = package.metrics_uri
            stored = read_object(client(self._session, "s3"), address) if address else None
        if stored is None:
            raise ThoraxError(f"{package.name} has no metrics in S3 ({address or 'no address'})")
        try:
            found: Any = json.loads(stored)
        except ValueError:
            raise ThoraxError(f"{address} is not JSON") from None
        return {
            f"{part}.{name}": float(value["value"] if isinstance(value, dict) else value)
            for part, scores in found.get("scores", found).items()
            if isinstance(scores, dict)
            for name, value in (scores.get("macro") or {}).items()
            if isinstance(value, dict | float)
        }


def decision(package: Package, status: str, reason: str) -> dict[str, str]:
    """The parameters of UpdateModelPackage that approve or reject it."""
    words = {"ApprovalDescription": reason} if reason else {}
    return {"ModelPackageArn": package.arn, "ModelApprovalStatus": status, **words}


def resolved(bundle: str, settings: AwsSettings, offline: bool) -> str:
    """What `registry:GROUP[/VERSION]` names as an s3:// address; anything else as it is.

    Args:
        offline: nothing may be asked of AWS.

    Raises:
        ThoraxError: no such bundle, it is not approved, or `offline`.
    """
    if not bundle.startswith("registry:"):
        return bundle
    if not (found := ADDRESS.fullmatch(bundle)):
        raise ThoraxError(f"{bundle} must be registry:GROUP or registry:GROUP/VERSION, such as registry:chest/3")
    if offline:
        raise ThoraxError(f"{bundle} with --dry-run: only AWS knows which bundle that is; give its s3:// address")
    package = ModelRegistry(settings).deployable(found[1], int(found[2]) if found[2] else None)
    print(f"registry: {package.name}, {package.status}, {package.uri}", flush=True)
    return package.uri


def all_resolved(
    texts: Sequence[str], options: EndpointOptions, settings: AwsSettings, offline: bool
) -> tuple[list[str], EndpointOptions]:
    """Bundles, and an endpoint's options with its shadow, as `resolved` has them; NAME=registry:GROUP too.

    Raises:
        ThoraxError: see resolved.
    """
    found = []
    for text in texts:
        name, separator, where = text.partition("=")
        named = separator and where.startswith("registry:")
        found.append(f"{name}={resolved(where, settings, offline)}" if named else resolved(text, settings, offline))
    shared = {
        name: f"{resolved(weighted(text)[0], settings, offline)}:{weighted(text)[1]:g}"
        if text.startswith("registry:")
        else text
        for name, text in options.variant.items()
    }
    options = replace(options, variant=shared)
    if not options.shadow.startswith("registry:"):
        return found, options
    where, percent = percentage(options.shadow)
    return found, replace(options, shadow=f"{resolved(where, settings, offline)}:{percent}")


def weighted(text: str) -> tuple[str, float]:
    """(bundle, weight) of BUNDLE[:WEIGHT]; 1 where there is none."""
    where, _, weight = text.rpartition(":")
    return (where, float(weight)) if where and re.fullmatch(r"\d+(\.\d+)?", weight) else (text, 1.0)


def percentage(text: str) -> tuple[str, int]:
    """(bundle, percentage) of BUNDLE[:PERCENT]; 100 where there is none."""
    where, _, percent = text.rpartition(":")
    return (where, int(percent)) if where and percent.isdecimal() else (text, 100)
