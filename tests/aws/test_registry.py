"""registry.py and `deploy registry:...` against stand-ins for the model registry's calls (moto keeps no metrics)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lambda_stand_ins
from thorax_launch.cli import deploy, registry
from thorax_launch.sagemaker.package import packed, source_files

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
ARN = "arn:aws:sagemaker:eu-central-1:123456789012:model-package/chest/"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def group(aws: Any, light: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """Version -> status of the bundles in the group chest; what UpdateModelPackage decides is kept."""
    monkeypatch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    found = {1: "Approved", 2: "Rejected", 3: "PendingManualApproval"}
    s3 = aws.client("s3")
    for version, auc in zip(found, (0.9, 0.8, 0.95), strict=True):
        s3.put_object(Bucket=BUCKET, Key=f"thorax/{version}/model.tar.gz", Body=packed(source_files(light), 1))
        metrics = {"validation": {"macro": {"auc": {"value": 0.5}}}, "test": {"macro": {"auc": {"value": auc}}}}
        stored = {"scores": metrics} if version == 3 else metrics  # a pipeline's and deploy's form
        s3.put_object(Bucket=BUCKET, Key=f"thorax/{version}/metrics.json", Body=json.dumps(stored).encode())
    aws.calls.clear()

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        version = int(asked["ModelPackageName"].removeprefix(ARN))
        folder = f"s3://{BUCKET}/thorax/{version}"
        return {
            "ModelPackageGroupName": "chest",
            "ModelPackageVersion": version,
            "ModelPackageArn": f"{ARN}{version}",
            "ModelApprovalStatus": found[version],
            "CreationTime": datetime(2026, 11, version, tzinfo=UTC),
            "InferenceSpecification": {"Containers": [{"ModelDataUrl": f"{folder}/model.tar.gz"}]},
            "ModelMetrics": {"ModelQuality": {"Statistics": {"S3Uri": f"{folder}/metrics.json"}}},
        }

    def update(asked: dict[str, Any]) -> dict[str, Any]:
        found[int(asked["ModelPackageArn"].removeprefix(ARN))] = asked["ModelApprovalStatus"]
        return {"ModelPackageArn": asked["ModelPackageArn"]}

    aws.answers |= {
        "ListModelPackages": lambda _: {"ModelPackageSummaryList": [{"ModelPackageArn": f"{ARN}{v}"} for v in found]},
        "DescribeModelPackage": describe,
        "UpdateModelPackage": update,
    }
    return found


def test_listed_compared_and_approved(group: dict[int, str], capsys: Capture) -> None:
    assert registry.main(["list", "chest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["chest/3", "2026-11-03", "PendingManualApproval"],
        ["chest/2", "2026-11-02", "Rejected"],
        ["chest/1", "2026-11-01", "Approved"],
    ]
    assert registry.main(["compare", "chest/1", "chest/3"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["test.auc", "0.9000", "0.9500", "+0.0500"] in rows
    assert registry.main(["approve", "chest/3", "--reason", "better"]) == 0
    assert capsys.readouterr().out == "chest/3 is Approved\n"
    assert group[3] == "Approved"
    assert registry.main(["reject", "chest/9"]) == 1
    assert capsys.readouterr().err == "error: chest/9 is not in the model registry; there are 3, 2, 1\n"


def test_only_an_approved_bundle_is_deployed(
    aws: Any, group: dict[int, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--endpoint-name", "chest", "--bucket", BUCKET, "--role", ROLE, "--yes"]
    answer = (200, {"Content-Type": "application/json"}, b"[0.25]")
    with lambda_stand_ins.serving(lambda *_: answer) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", address)
        assert deploy.main(["registry:chest", *words]) == 0
        (model,) = aws.sent("CreateModel")
        assert model["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/thorax/1/model.tar.gz"
        capsys.readouterr()
        assert deploy.main(["registry:chest/3", *words]) == 1
        assert "chest/3 is PendingManualApproval, and only an approved bundle is deployed" in capsys.readouterr().err
        group[3] = "Approved"
        assert deploy.main(["registry:chest", *words, "--dry-run"]) == 1
        assert "registry:chest with --dry-run: only AWS knows which bundle" in capsys.readouterr().err
        assert deploy.main(["registry:che_st", *words]) == 1
        assert "must be registry:GROUP or registry:GROUP/VERSION" in capsys.readouterr().err
    group.update(dict.fromkeys(group, "Rejected"))
    assert deploy.main(["registry:chest", *words]) == 1
    assert "no bundle of group chest is approved" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["chest", "chest/abc", "chest/"])
def test_a_decision_names_a_version(name: str, offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before AWS, or a region, is asked for."""
    assert registry.main(["approve", name]) == 1
    assert capsys.readouterr().err == f"error: {name} must be GROUP/VERSION, such as chest/3\n"


def test_a_dry_run_of_a_decision_changes_nothing(group: dict[int, str], capsys: Capture) -> None:
    assert registry.main(["approve", "chest/3", "--reason", "good", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("changes:  chest/3 from PendingManualApproval to Approved\n")
    sent = json.loads(shown.out)["UpdateModelPackage"]
    assert (sent["ModelApprovalStatus"], sent["ApprovalDescription"]) == ("Approved", "good")
    assert group[3] == "PendingManualApproval"
