"""A training job as the AWS tests start it, and what AWS says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", BUCKET, "--role", "thorax-execution", "--yes"]

DONE = {
    "TrainingJobStatus": "Completed",
    "SecondaryStatus": "Completed",
    "TrainingTimeInSeconds": 120,
    "BillableTimeInSeconds": 60,
    "ModelArtifacts": {"S3ModelArtifacts": "s3://films/thorax/one/output/model.tar.gz"},
}


def job(images: Path, *more: str) -> list[str]:
    return [
        "pneumonia-resnet18",
        "--train",
        str(images / "train"),
        "--test",
        str(images / "test"),
        "--job-name",
        "one",
        *PLACE,
        *more,
    ]


def states(aws: Any, *described: dict[str, Any]) -> None:
    """What DescribeTrainingJob tells, one look after the other; the last one stays."""
    waiting = [{"TrainingJobName": "one", **one} for one in described]
    aws.answers["DescribeTrainingJob"] = lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]
